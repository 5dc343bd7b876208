"""Load a detector and find objects in pictures."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard, cast, overload

import numpy as np
import tensorflow as tf

from keras_frcnn.api.finding import streaming
from keras_frcnn.api.finding.slicing import sliced
from keras_frcnn.api.model_file import load_model
from keras_frcnn.api.pictures import Path, Picture, PixelDetections, detect_prepared, in_picture, prepare_picture
from keras_frcnn.api.result import Result
from keras_frcnn.data.pictures.images import resized_size
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.limits import MOST_PIXELS
from keras_frcnn.facts.structures import Detections, Tensor
from keras_frcnn.network.model import FasterRCNN


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
    def turns(self) -> bool:
        """Whether files and PIL images are turned as their EXIF orientation says."""
        return self.config.image.applies_exif

    @property
    def nms_iou(self) -> float:
        """Of two detections of one class with an IoU over this, only the better one stays."""
        return self.config.test.nms_iou

    @property
    def config(self) -> DetectorConfig:
        """The configuration that the model was trained with."""
        return self._model.config

    @overload  # a str is an iterable of str, too
    def detect(  # type: ignore[overload-overlap]
        self,
        images: Picture,
        score: float = 0.5,
        batch_size: int = 1,
        slice_size: int | None = None,
        max_pixels: int = MOST_PIXELS,
    ) -> Result: ...

    @overload
    def detect(
        self,
        images: Iterable[Picture],
        score: float = 0.5,
        batch_size: int = 1,
        slice_size: int | None = None,
        max_pixels: int = MOST_PIXELS,
    ) -> list[Result]: ...

    def detect(
        self,
        images: Picture | Iterable[Picture],
        score: float = 0.5,
        batch_size: int = 1,
        slice_size: int | None = None,
        max_pixels: int = MOST_PIXELS,
    ) -> Result | list[Result]:
        """Find the objects in one picture or in several.

        Args:
          images: a picture, or a list, tuple or generator of pictures of any sizes.  A picture is a path (JPEG, PNG,
            GIF, BMP, WebP or TIFF), the bytes of such a file, a PIL image of any mode with a fixed range, or a uint8
            array: RGB (H, W, 3), grey (H, W) or (H, W, 1), or RGBA (H, W, 4), whose alpha is dropped.  If
            `config.image.exif` is "apply", files and PIL images are turned as their EXIF orientation says, and boxes
            are in pixels of the turned picture.
          score: the least score of a detection, from 0 to below 1.  The model itself drops detections that do not
            exceed `config.test.score_threshold` (0.05 by default), so a lower score shows nothing more.
          batch_size: how many pictures run together.  Only pictures that resize to the same size do.  It changes speed
            and memory, not results.
          slice_size: also look into overlapping square slices of this side, in pixels of the picture.  It finds small
            objects in pictures that are larger than those of training; a good side is the short side of those.  None:
            only look at the whole picture.
          max_pixels: a picture with more pixels cannot be read; arrays have no limit.

        Returns one Result for one picture, and for several a list of Results in the same order.

        Raises InputError for a number out of range, and for a single picture that cannot be read.  In a list, such a
        picture gives a Result without detections that says why in `error`.
        """
        if not _is_one(images):
            several = cast(Iterable[Picture], images)  # a TypeGuard narrows only where it is true
            return list(self.stream(several, score, batch_size, slice_size, max_pixels))
        return streaming.detect_one(sliced(self, slice_size), images, score, batch_size, max_pixels)

    def stream(
        self,
        images: Iterable[Picture],
        score: float = 0.5,
        batch_size: int = 1,
        slice_size: int | None = None,
        max_pixels: int = MOST_PIXELS,
    ) -> Iterator[Result]:
        """Find the objects in any number of pictures, which need not fit into memory.

        The arguments are those of `detect`.  Some pictures are read ahead in other threads, and only these are in
        memory.

        Returns an iterator over the Results, in the order of the pictures.

        Raises InputError at once for a number out of range.  A picture that cannot be read gives a Result without
        detections that says why in `error`.
        """
        return streaming.stream(sliced(self, slice_size), images, score, batch_size, max_pixels)

    def find(self, pictures: Sequence[np.ndarray], batch_size: int) -> list[PixelDetections]:
        """All detections in pictures of any sizes, (H, W, 3) uint8 RGB each; see `detect` for `batch_size`."""
        found: dict[int, PixelDetections] = {}
        image = self.config.image
        sizes = tf.constant([picture.shape[:2] for picture in pictures], tf.int32, [len(pictures), 2])
        resized = [tuple(resized_size(size, image.short_side, image.long_side).numpy().tolist()) for size in sizes]
        for rows in _batches(resized, batch_size):
            prepared = tf.stack([prepare_picture(pictures[row], image) for row in rows])
            detections = self._compile(len(rows))(prepared, tf.gather(sizes, rows))
            found.update({row: in_picture(detections, position) for position, row in enumerate(rows)})
        return [found[row] for row in range(len(pictures))]

    def _compile(self, count: int) -> Callable[[Tensor, Tensor], Detections]:
        """`detect_prepared` as a graph for batches of `count` pictures of any size, traced on first use."""
        if count not in self._compiled:
            # Height and width stay open, so that TensorFlow does not trace the model again for each size.
            signature = (tf.TensorSpec([count, None, None, 3], tf.float32), tf.TensorSpec([count, 2], tf.int32))
            function = functools.partial(detect_prepared, self._model)
            self._compiled[count] = tf.function(function, input_signature=signature)
        return self._compiled[count]


def _batches(sizes: Sequence[tuple[int, ...]], batch_size: int) -> Iterator[list[int]]:
    """The rows of pictures that resize to one of the `sizes`, as soon as there are enough of them.

    A batch has `batch_size` rows or, for the rest of a size, one: each other number would cost a trace.
    """
    waiting: dict[tuple[int, ...], list[int]] = {}
    for row, size in enumerate(sizes):
        waiting.setdefault(size, []).append(row)
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)
    for rows in waiting.values():
        yield from ([row] for row in rows)


def _is_one(images: Picture | Iterable[Picture]) -> TypeGuard[Picture]:
    """Whether `images` is one picture, or something that is not a collection of pictures, which `to_pixels` refuses."""
    is_one = isinstance(images, str | bytes | os.PathLike) or hasattr(images, "__array__")
    return is_one or not isinstance(images, Iterable)
