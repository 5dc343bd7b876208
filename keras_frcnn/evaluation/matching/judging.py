"""Which object each detection is compared with, and whether it is right: the rules of PASCAL VOC.

All evaluations that follow VOC use these functions.  `voc_ap` describes the rules and their sources.

Axes: D detections by descending score and G objects, of all images together.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections, check_records, image_positions
from keras_frcnn.evaluation.matching.overlap import pairwise_iou


class Objects(NamedTuple):
    """The objects of all images together, image by image."""

    images: np.ndarray  # (G,) position of each object's image, ascending
    boxes: np.ndarray  # (G, 4) float64
    classes: np.ndarray  # (G,)
    difficult: np.ndarray  # (G,) bool
    areas: np.ndarray  # (G,) float64, pixels; those of the boxes where the data set states none


class RankedDetections(NamedTuple):
    """The detections of all images together, by descending score."""

    images: np.ndarray  # (D,) position of each detection's image
    boxes: np.ndarray  # (D, 4) float64
    classes: np.ndarray  # (D,)
    scores: np.ndarray  # (D,) float64


class Verdict(NamedTuple):
    """The judgement of each detection.  A detection on a difficult object is neither right nor wrong."""

    right: np.ndarray  # (D,) bool
    wrong: np.ndarray  # (D,) bool
    best_object: np.ndarray  # (D,) index of the object that it is compared with; no meaning where best_iou is 0
    best_iou: np.ndarray  # (D,) IoU with this object


def join_images(
    examples: Sequence[Example], detections: Sequence[ImageDetections], class_count: int
) -> tuple[Objects, RankedDetections]:
    """The objects and the detections of all images together.

    Args:
      examples: all images of the split.
      detections: at most one record per image; an image without a record has no detections.  As in the examples, boxes
        are yxyx, continuous corners, pixels of the picture before resizing.
      class_count: the number of classes without background.

    Raises:
      InputError: as in `check_records`.
      ValueError: two examples have the same image id.
    """
    positions = image_positions(examples)
    check_records(detections, positions, class_count)
    return _join_objects(examples), _rank(detections, positions)


def judge(objects: Objects, ranked: RankedDetections, iou_threshold: float) -> Verdict:
    """Whether each detection is right or wrong.

    Args:
      objects: the objects of all images.
      ranked: the detections of all images.
      iou_threshold: the IoU that a detection must exceed to match an object.
    """
    best_object, best_iou = best_objects(objects, ranked)
    hits = np.flatnonzero(best_iou > iou_threshold)
    hit_objects = best_object[hits]
    on_difficult = objects.difficult[hit_objects]
    _, first = np.unique(hit_objects, return_index=True)  # of each object, its hit with the highest score

    right = np.zeros(len(ranked.scores), bool)
    right[hits[first]] = True
    right[hits[on_difficult]] = False
    wrong = ~right
    wrong[hits[on_difficult]] = False
    return Verdict(right, wrong, best_object, best_iou)


def best_objects(objects: Objects, ranked: RankedDetections, same_class: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """For each detection, the object of its image that it overlaps most.

    Args:
      objects: the objects of all images.
      ranked: the detections of all images.
      same_class: whether to search among the objects of the detection's class, or among those of all other classes.

    Returns:
      (D,) indices into `objects`, the first one if several objects have the same IoU; and (D,) their IoU.  The IoU is 0
      if the detection overlaps no such object; the index then has no meaning.
    """
    best_object = np.zeros(len(ranked.scores), np.int64)
    best_iou = np.zeros(len(ranked.scores))
    for own, rows in rows_by_image(objects, ranked):
        iou = pairwise_iou(ranked.boxes[rows], objects.boxes[own])
        iou *= (ranked.classes[rows, None] == objects.classes[own]) == same_class
        best_object[rows] = own.start + iou.argmax(axis=1)
        best_iou[rows] = iou.max(axis=1)
    return best_object, best_iou


def rows_by_image(objects: Objects, ranked: RankedDetections) -> Iterator[tuple[slice, np.ndarray]]:
    """The objects (a slice) and the detections (indices) of each image that has both."""
    # Sort the detections by image, as the objects are, so that the rows of one image are one slice.
    by_image = np.argsort(ranked.images, kind="stable")
    images, starts, counts = np.unique(objects.images, return_index=True, return_counts=True)
    lows = np.searchsorted(ranked.images[by_image], images, side="left")
    highs = np.searchsorted(ranked.images[by_image], images, side="right")
    for start, count, low, high in zip(starts, counts, lows, highs, strict=True):
        if low < high:
            yield slice(start, start + count), by_image[low:high]


def _join_objects(examples: Sequence[Example]) -> Objects:
    """Concatenate the objects of all images."""
    return Objects(
        images=np.repeat(np.arange(len(examples)), [len(example.classes) for example in examples]),
        boxes=_concatenate([example.boxes for example in examples], np.float64).reshape(-1, 4),
        classes=_concatenate([example.classes for example in examples], np.int64),
        difficult=_concatenate([example.difficult for example in examples], bool),
        areas=_concatenate([_areas(example) for example in examples], np.float64),
    )


def _areas(example: Example) -> np.ndarray:
    """(N,) the areas that the data set states, or else those of the boxes."""
    if example.areas is not None:
        return example.areas
    sides = np.asarray(example.boxes, np.float64).reshape(-1, 4)
    return np.prod(sides[:, 2:] - sides[:, :2], axis=1)


def _rank(detections: Sequence[ImageDetections], positions: dict[str, int]) -> RankedDetections:
    """Concatenate the detections of all images and sort them; `positions` is image id -> position of the image."""
    image_positions = np.asarray([positions[record.image_id] for record in detections], np.int64)
    joined = RankedDetections(
        images=np.repeat(image_positions, [len(record.classes) for record in detections]),
        boxes=_concatenate([record.boxes for record in detections], np.float64).reshape(-1, 4),
        classes=_concatenate([record.classes for record in detections], np.int64),
        scores=_concatenate([record.scores for record in detections], np.float64),
    )
    order = np.argsort(-joined.scores, kind="stable")
    return RankedDetections(*(field[order] for field in joined))


def _concatenate(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """The values of all arrays in one flat array.  Unlike `np.concatenate`, it accepts an empty sequence."""
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(array, dtype).reshape(-1) for array in arrays)])
