"""From pictures in any form to results, with whatever finds the objects."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from keras_frcnn.api.finding.reading_ahead import read_ahead
from keras_frcnn.api.pictures import Picture, PixelDetections, to_pixels
from keras_frcnn.api.result import Result
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MOST_PIXELS, MOST_WHOLE
from keras_frcnn.facts.settings import Limits, check_number

MOST_TOGETHER = 1024  # pictures of one batch; up to eight times as many are in memory
_BATCHES_READ_AHEAD = 8  # pictures of one resized size are looked for among those of this many batches
_BYTES_READ_AHEAD = 2**29  # of pixels; large pictures make fewer
_NOTHING = PixelDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))


class Finder(Protocol):
    """Finds objects in pixels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes without background; class id 1 is the first."""

    @property
    def turns(self) -> bool:
        """Whether pictures are turned as their EXIF orientation says."""

    @property
    def nms_iou(self) -> float:
        """Of two detections of one class with an IoU over this, only the better one stays."""

    def find(self, pictures: Sequence[np.ndarray], batch_size: int) -> list[PixelDetections]:
        """All detections in each picture, (H, W, 3) uint8 RGB; at most `batch_size` of them run together."""


class Later(NamedTuple):
    """A picture that is fetched when its turn comes."""

    name: str  # the source of its Result
    fetch: Callable[[], bytes]  # the content of its file; raises InputError


class _Loaded(NamedTuple):
    """A picture's pixels, or why there are none."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB; (0, 0, 3) with an error
    source: str | None
    error: str | None = None
    is_file: bool = False  # at `source`, where it can be read again


def detect_one(finder: Finder, image: Picture, score: float, batch_size: int, max_pixels: int = MOST_PIXELS) -> Result:
    """The objects in one picture.  Raises InputError if it cannot be read, and for a number out of range."""
    _check(score, batch_size, max_pixels)
    reading = Reading(finder.turns, max_pixels)
    return next(_results(finder, [_load(image, reading, "image")], reading, score, batch_size))


def stream(
    finder: Finder, images: Iterable[Picture | Later], score: float, batch_size: int, max_pixels: int = MOST_PIXELS
) -> Iterator[Result]:
    """The objects in each picture, in order; see `Detector.stream`."""
    _check(score, batch_size, max_pixels)
    return _stream(finder, images, Reading(finder.turns, max_pixels), score, batch_size)


def _check(score: float, batch_size: int, max_pixels: int) -> None:
    check_score(score)
    check_count(batch_size, "batch_size", MOST_TOGETHER)
    check_count(max_pixels, "max_pixels")


def _stream(
    finder: Finder, images: Iterable[Picture | Later], reading: Reading, score: float, batch_size: int
) -> Iterator[Result]:
    def load(image: Picture | Later, name: str) -> _Loaded:
        try:
            return _load(image, reading, name)
        except InputError as error:
            return _Loaded(np.zeros((0, 0, 3), np.uint8), _source(image), str(error))

    named = ((image, f"images[{index}]") for index, image in enumerate(images))
    window = 1 if batch_size == 1 else batch_size * _BATCHES_READ_AHEAD
    for loaded in _windows(read_ahead(load, named), window, _BYTES_READ_AHEAD):
        yield from _results(finder, loaded, reading, score, batch_size)


def _windows(pictures: Iterable[_Loaded], most: int, most_bytes: int) -> Iterator[list[_Loaded]]:
    """Successive pictures that are in memory together: `most` of them, or fewer that have `most_bytes` of pixels."""
    window: list[_Loaded] = []
    size = 0
    for picture in pictures:
        window.append(picture)
        size += picture.pixels.nbytes
        if len(window) == most or size >= most_bytes:
            yield window
            window, size = [], 0
    if window:
        yield window


def _results(
    finder: Finder, pictures: Sequence[_Loaded], reading: Reading, score: float, batch_size: int
) -> Iterator[Result]:
    """The Result of each picture, in order."""
    found = iter(finder.find([picture.pixels for picture in pictures if picture.error is None], batch_size))
    for picture in pictures:
        boxes, class_ids, scores = next(found) if picture.error is None else _NOTHING
        shown = scores >= score
        height, width = picture.pixels.shape[:2]
        yield Result(
            boxes=boxes[shown],
            scores=scores[shown],
            class_ids=class_ids[shown],
            class_names=finder.class_names,
            height=height,
            width=width,
            source=picture.source,
            error=picture.error,
            _pixels=None if picture.is_file or picture.error is not None else picture.pixels,
            _reading=reading,
        )


def check_score(score: float, name: str = "score") -> None:
    """Raise InputError unless `score` is a number from 0 to below 1; `name` is the argument or option."""
    if not isinstance(score, int | float | np.integer | np.floating) or isinstance(score, bool):
        raise InputError(name, f"{score!r} is not a number", "give a number from 0 to below 1")
    check_number(score, Limits(at_least=0, less_than=1), name)


def check_count(count: int, name: str, most: int = MOST_WHOLE) -> None:
    """Raise InputError unless `count` is a whole number from 1 to `most`; `name` is the argument or option."""
    if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
        raise InputError(name, f"{count!r} is not a whole number of at least 1", "give 1 or more")
    if count > most:
        raise InputError(name, f"{count} is over the limit of {most}", f"give {most} or less")


def _load(image: Picture | Later, reading: Reading, name: str) -> _Loaded:
    """Read a picture; `name` stands for one without a path.  Raises InputError."""
    if isinstance(image, Later):
        return _Loaded(to_pixels(image.fetch(), reading, image.name), image.name)
    return _Loaded(to_pixels(image, reading, name), _source(image), is_file=_source(image) is not None)


def _source(image: object) -> str | None:
    if isinstance(image, Later):
        return image.name
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else None
