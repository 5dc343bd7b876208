"""What exported detectors answer: TensorFlow's convention for the outputs of detectors.

Detections below the score of the export are not in the answers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_frcnn.api.pictures import PixelDetections

# Boxes, classes, scores, and the number of rows that are detections.
DETECTION_OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")


class Shares(NamedTuple):
    """The N detections in one picture, best first."""

    boxes: np.ndarray  # (N, 4) float32 yxyx, from 0 to 1 of the picture's sides
    classes: np.ndarray  # (N,) int32, from 1
    scores: np.ndarray  # (N,) float32


Ask = Callable[[np.ndarray], Shares]  # takes one picture, (H, W, 3) uint8 RGB


class ExportedDetector(NamedTuple):
    """An exported detector as a `finding.streaming.Finder`."""

    ask: Ask
    class_names: tuple[str, ...]
    turns: bool
    nms_iou: float

    def find(self, pictures: Sequence[np.ndarray], batch_size: int) -> list[PixelDetections]:
        """All detections in each picture, (H, W, 3) uint8 RGB, one picture after the other."""
        return [_in_pixels(self.ask(picture), picture.shape[:2]) for picture in pictures]


def shares(outputs: Mapping[str, np.ndarray]) -> Shares:
    """The detections in the outputs for a batch of one picture."""
    boxes, classes, scores, count = (outputs[name][0] for name in DETECTION_OUTPUTS)
    found = int(count)
    return Shares(boxes[:found], classes[:found].astype(np.int32), scores[:found])


def exported(ask: Ask, class_names: tuple[str, ...], settings: Mapping[str, Any]) -> ExportedDetector:
    """A detector with the content of its `config.json`.

    Raises KeyError, TypeError, AttributeError or ValueError if `settings` is not such a content.
    """
    detector = settings["detector"]
    return ExportedDetector(
        ask, class_names, detector["image"].get("exif") == "apply", float(detector["test"]["nms_iou"])
    )


def _in_pixels(found: Shares, size: tuple[int, ...]) -> PixelDetections:
    """The detections in pixels of a picture of `size`, height and width."""
    return PixelDetections(found.boxes * np.array(size * 2, np.float32), found.classes, found.scores)
