"""Average precision as PASCAL VOC defines it: the 11-point metric of 2007, and the area of 2010 and later.

Sources: the VOC2007 and VOC2012 development kits (`VOCevaldet.m`), and `voc_eval.py` of py-faster-rcnn.  This module
reproduces their results.  Some details of the rules are easy to get wrong:

- Official boxes are 1-based with inclusive ends, and the kit computes a width as `xmax - xmin + 1`.  Boxes here have
  continuous corners, `x0 = xmin - 1` and `x1 = xmax`; the conversion happens where files are read.  So
  `x1 - x0 = xmax - xmin + 1`, the same holds for intersections, and no `+ 1` is needed here.
- A detection is compared with the object of its class that it overlaps most, even if that object is already detected.
  It matches only if this overlap is strictly above the threshold.  It never falls back to its second best object.
- A detection on a difficult object is neither right nor wrong.  A second detection of the same object is wrong.
- Detections of equal score keep the order of the input, as with the stable sort of the kit.  `voc_eval.py` uses an
  unstable `argsort`, so its order of equal scores is arbitrary.
- The eleven recall thresholds are `np.arange(0, 1.1, 0.1)`, without tolerance, as in `voc_eval.py`.  By a rounding
  error the fourth is slightly above 0.3, so a recall of 3 in 10 does not reach it.

`matching` has the rules for detections and objects; this module has the two metrics.

Axes: D detections by descending score, of all images together; K classes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.matching.judging import join_images, judge
from keras_frcnn.evaluation.matching.matches import ClassMatches


class ClassAP(NamedTuple):
    """The average precision of one class, and the curve it is computed from."""

    class_name: str
    ap_11point: float  # NaN if there are no objects
    ap_area: float  # NaN if there are no objects
    objects: int  # number of objects of the class, without the difficult ones
    detections: int  # number of detections of the class, with those on difficult objects
    recall: np.ndarray  # (D,) after each detection, best first; NaN if there are no objects
    precision: np.ndarray  # (D,) after each detection, best first
    scores: np.ndarray  # (D,) descending
    matches: ClassMatches  # of its detections at the IoU threshold, best first


class VOCResult(NamedTuple):
    """The average precision of all classes."""

    classes: tuple[ClassAP, ...]  # in the order of the class names
    mean_11point: float  # mean over the classes that have objects; NaN if no class has any
    mean_area: float  # the same for ap_area
    iou_threshold: float
    images: int
    classes_without_objects: tuple[str, ...]  # left out of both means


def evaluate_voc(
    examples: Iterable[Example],
    detections: Iterable[ImageDetections],
    class_names: Sequence[str],
    iou_threshold: float = 0.5,
) -> VOCResult:
    """Average precision of each class, and the means.

    Args:
      examples: all images of the split.
      detections: at most one record per image; an image without a record has no detections.  As in the examples, boxes
        are yxyx, continuous corners, pixels of the picture before resizing.
      class_names: the K classes without background; class i is `class_names[i - 1]`.
      iou_threshold: the IoU that a detection must exceed to match an object.

    Raises:
      InputError: as in `check_records`.
      ValueError: two examples have the same image id.
    """
    examples = tuple(examples)
    objects, ranked = join_images(examples, tuple(detections), len(class_names))
    verdict = judge(objects, ranked, iou_threshold)
    classes = []
    for class_index, class_name in enumerate(class_names, start=1):
        counted = (objects.classes == class_index) & ~objects.difficult
        of_class = ranked.classes == class_index
        matches = ClassMatches(
            images=ranked.images[of_class],
            right=verdict.right[None, of_class],
            ignored=~(verdict.right | verdict.wrong)[None, of_class],
            objects=np.bincount(objects.images[counted], minlength=len(examples)),
        )
        classes.append(_evaluate_class(class_name, matches, ranked.scores[of_class]))

    with_objects = [entry for entry in classes if entry.objects]
    return VOCResult(
        classes=tuple(classes),
        mean_11point=_mean([entry.ap_11point for entry in with_objects]),
        mean_area=_mean([entry.ap_area for entry in with_objects]),
        iou_threshold=iou_threshold,
        images=len(examples),
        classes_without_objects=tuple(entry.class_name for entry in classes if not entry.objects),
    )


def judge_image(example: Example, record: ImageDetections, iou_threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The classes of the right and of the wrong detections in one picture.

    Args:
      example: the picture and its objects.
      record: its detections.
      iou_threshold: as in `evaluate_voc`.

    Returns:
      Two arrays of class numbers, each sorted.  A detection on a difficult object is in neither.

    Raises:
      InputError: the record belongs to another picture, or as in `check_record`.
    """
    class_count = int(np.max(record.classes, initial=0))  # the number of classes does not matter here
    objects, ranked = join_images([example], [record], class_count)
    verdict = judge(objects, ranked, iou_threshold)
    return np.sort(ranked.classes[verdict.right]), np.sort(ranked.classes[verdict.wrong])


def average_precision_11point(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean, over eleven recall thresholds, of the highest precision at that recall or above (VOC2007).

    Args:
      recall, precision: (D,) after each detection, by descending score.
    """
    best = [precision[recall >= threshold].max(initial=0.0) for threshold in np.arange(0.0, 1.1, 0.1)]
    return float(np.mean(best))


def average_precision_area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the curve of precision over recall, after precision is made monotone (VOC2010 and later).

    Args:
      recall, precision: (D,) after each detection, by descending score.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _evaluate_class(class_name: str, matches: ClassMatches, scores: np.ndarray) -> ClassAP:
    """Both average precisions of one class.

    Args:
      class_name: its name.
      matches: its detections, by descending score.
      scores: (D,) descending.
    """
    total = int(matches.objects.sum())
    right, wrong = np.cumsum(matches.right[0]), np.cumsum(~(matches.right | matches.ignored)[0])
    precision = right / np.maximum(right + wrong, 1)  # 0 / 1 while all are on difficult objects, as in the kit
    recall = right / total if total else np.full(len(right), np.nan)
    return ClassAP(
        class_name=class_name,
        ap_11point=average_precision_11point(recall, precision) if total else float("nan"),
        ap_area=average_precision_area(recall, precision) if total else float("nan"),
        objects=total,
        detections=len(scores),
        recall=recall,
        precision=precision,
        scores=scores,
        matches=matches,
    )


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN if there are no values."""
    return float(np.mean(values)) if values else float("nan")
