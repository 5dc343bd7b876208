"""The answers of a TFLite file, and their comparison with the Keras model at the same size."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.shared.average_precision import mean_average_precision
from export.shared.parity import ParityError, PictureDetections, Tolerance, check, compare, format_parity
from keras_frcnn.api.exports.tflite import tflite_asker
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.images import normalise, resize_picture
from keras_frcnn.network.model import FasterRCNN

# By quantisation.  With few bits, rounding sometimes makes NMS keep another of two proposals, and the detection moves.
# Of 302 detections of blood cells, 3 were beyond these limits in float16 and 6 in int8.  The mAP on a data set judges
# such a file.  The comparison of single detections only shows that nothing is broken.
TOLERANCES = {
    "none": Tolerance(box=1e-3, score=1e-3),
    "float16": Tolerance(box=5e-3, score=5e-3, share=0.97),
    "dynamic": Tolerance(box=0.05, score=0.1, share=0.9),
    "int8": Tolerance(box=0.05, score=0.1, share=0.9),
}
LARGEST_MAP_LOSS = 0.02

Detect = Callable[[np.ndarray], PictureDetections]  # takes one (H, W, 3) uint8 picture


class Measured(NamedTuple):
    """What the Keras model reaches on a data set, before fc6 and fc7 are cut."""

    dataset: Dataset
    mean_ap: float  # 11-point mAP, 0 to 1


_LOG = logging.getLogger(__name__)


def tflite_detector(path: str | os.PathLike[str]) -> Detect:
    """A function that detects with the TFLite file `path`."""
    ask = tflite_asker(path)
    return lambda image: PictureDetections(*ask(image))


def keras_detector(model: FasterRCNN, size: tuple[int, int]) -> Detect:
    """A function that detects with the Keras model, from the same pixels as the TFLite file."""

    def detect(image: np.ndarray) -> PictureDetections:
        pixels = resize_picture(image, size)
        detections = model((normalise(pixels)[None], tf.constant([size])))
        boxes, classes, scores, valid = (field[0].numpy() for field in detections)
        return PictureDetections(boxes[valid] / np.array(size * 2, np.float32), classes[valid], scores[valid])

    return detect


def measure(detect: Detect, dataset: Dataset, title: str) -> Measured:
    """Measure the Keras model.  Raises ParityError if the data set has no objects, so that there is no mAP."""
    mean_ap = mean_average_precision(detect, dataset, title)
    if math.isnan(mean_ap):
        raise ParityError(f"{dataset.name} has no objects, so there is no mAP to compare; give another --split")
    return Measured(dataset, mean_ap)


def compare_with_keras(
    path: str | os.PathLike[str],
    model: FasterRCNN,
    size: tuple[int, int],
    quantization: str,
    images: Sequence[np.ndarray],
    measured: Measured | None,
) -> None:
    """Compare the TFLite file `path` with the Keras model at the same `size`, and log the differences.

    Detections on `images` (H, W, 3) uint8 are compared one to one; `model` has the same cut of fc6 and fc7 as the file.
    The mAP of the file is compared with `measured`, unless it is None, so it also shows what the cut costs.

    Raises ParityError if the detections are beyond the tolerance of `quantization`, or if the mAP falls by more than
    LARGEST_MAP_LOSS.
    """
    tolerance = TOLERANCES[quantization]
    ours, theirs = keras_detector(model, size), tflite_detector(path)
    reference, exported = ([detect(image) for image in images] for detect in (ours, theirs))
    parity = compare(reference, exported, tolerance, model.config.test)
    _LOG.info("compared with the Keras model: %s", format_parity(parity))
    check(parity, tolerance)
    if measured is not None:
        (dataset, before), after = measured, mean_average_precision(theirs, measured.dataset, "TFLite")
        _LOG.info("mAP on %s at this size: %.4f of the Keras model, %.4f of the file", dataset.name, before, after)
        if not after >= before - LARGEST_MAP_LOSS:  # true for NaN
            raise ParityError(f"mAP falls by {before - after:.4f} (at most {LARGEST_MAP_LOSS})")
