"""Load a detector and find objects in pictures."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeGuard, cast, overload

import numpy as np
import tensorflow as tf

from keras_frcnn.api.model_file import load_model
from keras_frcnn.api.pictures import (
    Path,
    Picture,
    PixelDetections,
    detect_prepared,
    in_picture,
    prepare_picture,
    to_pixels,
)
from keras_frcnn.api.reading_ahead import read_ahead
from keras_frcnn.api.result import Result
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import Limits, check_number
from keras_frcnn.facts.structures import Detections, Tensor
from keras_frcnn.network.model import FasterRCNN

_BATCHES_READ_AHEAD = 8  # pictures of one resized size are looked for among those of this many batches


def load(path: Path) -> "Detector":
    """Load a trained detector from a run folder or a `.keras` file.

    Raises InputError if there is no model, or if the file does not hold a detector of this project.
    """
    return Detector(load_model(path))


class Detector:
    """Finds objects in pictures.

        detector = keras_frcnn.load("runs/mine")
        result = detector.detect("photo.jpg", score=0.5)
        result.draw().save("photo.detections.png")

    TensorFlow traces the model on the first call with each batch size, so that call takes seconds longer.
    """

    def __init__(self, model: FasterRCNN):
        self._model = model
        self._compiled: dict[int, Callable[[Tensor, Tensor], Detections]] = {}

    @property
    def model(self) -> FasterRCNN:
        """The Keras model."""
        return self._model

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes without background; class id 1 is the first."""
        return self._model.class_names

    @property
    def config(self) -> DetectorConfig:
        """The configuration that the model was trained with."""
        return self._model.config

    @overload  # a str is an iterable of str, too
    def detect(  # type: ignore[overload-overlap]
        self, images: Picture, score: float = 0.5, batch_size: int = 1
    ) -> Result: ...

    @overload
    def detect(self, images: Iterable[Picture], score: float = 0.5, batch_size: int = 1) -> list[Result]: ...

    def detect(
        self, images: Picture | Iterable[Picture], score: float = 0.5, batch_size: int = 1
    ) -> Result | list[Result]:
        """Find the objects in one picture or in several.

        Args:
          images: a picture, or a list, tuple or generator of pictures of any sizes.  A picture is a path (JPEG, PNG,
            GIF or BMP), a PIL image of any mode with a fixed range, or a uint8 array: RGB (H, W, 3), grey (H, W) or
            (H, W, 1), or RGBA (H, W, 4), whose alpha is dropped.  If `config.image.exif` is "apply", files and PIL
            images are turned as their EXIF orientation says, and boxes are in pixels of the turned picture.
          score: the least score of a detection, from 0 to below 1.  The model itself drops detections that do not
            exceed `config.test.score_threshold` (0.05 by default), so a lower score shows nothing more.
          batch_size: how many pictures run together.  Only pictures that resize to the same size do.  It changes speed
            and memory, not results.

        Returns one Result for one picture, and for several a list of Results in the same order.

        Raises InputError for a `score` or `batch_size` out of range, and for a single picture that cannot be read.  In
        a list, such a picture gives a Result without detections that says why in `error`.
        """
        if not _is_one(images):
            several = cast(Iterable[Picture], images)  # a TypeGuard narrows only where it is true
            return list(self.stream(several, score, batch_size))
        check_score(score)
        check_batch_size(batch_size)
        pixels = to_pixels(images, self.config.image.applies_exif)
        return self._results([_Loaded(pixels, _source(images))], score, batch_size)[0]

    def stream(self, images: Iterable[Picture], score: float = 0.5, batch_size: int = 1) -> Iterator[Result]:
        """Find the objects in any number of pictures, which need not fit into memory.

        The arguments are those of `detect`.  Some pictures are read ahead in other threads, and only these are in
        memory.

        Returns an iterator over the Results, in the order of the pictures.

        Raises InputError at once for a `score` or `batch_size` out of range.  A picture that cannot be read gives a
        Result without detections that says why in `error`.
        """
        check_score(score)
        check_batch_size(batch_size)
        return self._stream(images, score, batch_size)

    def _stream(self, images: Iterable[Picture], score: float, batch_size: int) -> Iterator[Result]:
        named = ((image, f"images[{index}]") for index, image in enumerate(images))
        window = 1 if batch_size == 1 else batch_size * _BATCHES_READ_AHEAD
        pictures = read_ahead(self._load, named)
        while loaded := list(itertools.islice(pictures, window)):
            yield from self._results(loaded, score, batch_size)

    def _load(self, image: Picture, name: str) -> "_Loaded":
        """Read a picture.  One that cannot be read has its error."""
        try:
            return _Loaded(to_pixels(image, self.config.image.applies_exif, name), _source(image))
        except InputError as error:
            return _Loaded(np.zeros((0, 0, 3), np.uint8), _source(image), str(error))

    def _results(self, pictures: Sequence["_Loaded"], score: float, batch_size: int) -> list[Result]:
        """The Result of each picture, in order."""
        found: dict[int, PixelDetections] = {}
        for rows, prepared in self._batches(pictures, batch_size):
            sizes = tf.constant([pictures[row].pixels.shape[:2] for row in rows], tf.int32)
            detections = self._compile(len(rows))(prepared, sizes)
            found.update({row: in_picture(detections, position) for position, row in enumerate(rows)})
        return [self._result(picture, found.get(row, _NOTHING), score) for row, picture in enumerate(pictures)]

    def _compile(self, count: int) -> Callable[[Tensor, Tensor], Detections]:
        """`detect_prepared` as a graph for batches of `count` pictures of any size, traced on first use."""
        if count not in self._compiled:
            # Height and width stay open, so that TensorFlow does not trace the model again for each size.
            signature = (tf.TensorSpec([count, None, None, 3], tf.float32), tf.TensorSpec([count, 2], tf.int32))
            function = functools.partial(detect_prepared, self._model)
            self._compiled[count] = tf.function(function, input_signature=signature)
        return self._compiled[count]

    def _batches(self, pictures: Sequence["_Loaded"], batch_size: int) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """The rows of readable pictures that resize to one size, and their prepared pixels.

        A batch has `batch_size` rows or, for the rest of a group, one: each other number would cost a trace.
        """
        groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for row, picture in enumerate(pictures):
            if picture.error is None:
                prepared = prepare_picture(picture.pixels, self.config.image)
                groups.setdefault(tuple(prepared.shape), []).append((row, prepared))
        for group in groups.values():
            whole = len(group) - len(group) % batch_size
            batches = [group[start : start + batch_size] for start in range(0, whole, batch_size)]
            for batch in [*batches, *([entry] for entry in group[whole:])]:
                rows, resized = zip(*batch, strict=True)
                yield rows, tf.stack(resized)

    def _result(self, picture: "_Loaded", found: PixelDetections, score: float) -> Result:
        shown = found.scores >= score
        height, width = picture.pixels.shape[:2]
        return Result(
            boxes=found.boxes[shown],
            scores=found.scores[shown],
            class_ids=found.class_ids[shown],
            class_names=self.class_names,
            height=height,
            width=width,
            source=picture.source,
            error=picture.error,
            _pixels=picture.pixels if picture.source is None and picture.error is None else None,
            _turned=self.config.image.applies_exif,
        )


class _Loaded(NamedTuple):
    """A picture's pixels, or why there are none."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB; (0, 0, 3) with an error
    source: str | None
    error: str | None = None


_NOTHING = PixelDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))


def check_score(score: float, name: str = "score") -> None:
    """Raise InputError unless `score` is a number from 0 to below 1; `name` is the argument or option."""
    if not isinstance(score, int | float | np.integer | np.floating) or isinstance(score, bool):
        raise InputError(name, f"{score!r} is not a number", "give a number from 0 to below 1")
    check_number(score, Limits(at_least=0, less_than=1), name)


def check_batch_size(batch_size: int, name: str = "batch_size") -> None:
    """Raise InputError unless `batch_size` is a whole number of at least 1; `name` is the argument or option."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise InputError(name, f"{batch_size!r} is not a whole number of at least 1", "give 1 or more")


def _is_one(images: Picture | Iterable[Picture]) -> TypeGuard[Picture]:
    """Whether `images` is one picture, or something that is no collection of pictures, which `to_pixels` refuses."""
    is_one = isinstance(images, str | bytes | os.PathLike) or hasattr(images, "__array__")
    return is_one or not isinstance(images, Iterable)


def _source(image: object) -> str | None:
    return str(image) if isinstance(image, str | os.PathLike) else None
