"""The label of each error: what is wrong with a false positive, and why an object was missed.

Source of the labels of false positives: TIDE (Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020, section 2.2), in the order in which the published code tests them.  Detections and
objects are matched by the rules of PASCAL VOC in `matching`, so the false positives are those that lower VOC's AP.

Let `own` be the highest IoU of a false positive with an object of its class, `other` the highest IoU with an object of
another class, t_f = `Thresholds.foreground` and t_b = `Thresholds.background`.  The first condition that holds decides:

1. localisation: t_b <= own <= t_f.  The class is right, the box is not.
2. confusion: other > t_f.  The box is right, the class is not.  TIDE calls this error "classification".
3. duplicate: own > t_f.  A detection with a higher score was matched with this object.
4. background: own < t_b and other < t_b.
5. both: all others.  The detection partly overlaps an object of another class: box and class are wrong.

An object without a right detection is a miss.  TIDE counts it as "missed" only if no localisation or confusion error
aims at it, because fixing such an error would also find the object.  `Misses.kinds` has this label.  `Misses.causes`
says independently which part of the detector lost the object.

Difficult objects are never misses.  A detection that matches one is ignored.  A false positive may aim at one; fixing
it then removes it, because VOC ignores detections of difficult objects.

Axes: D detections by descending score, G objects, M misses, of all images together; P proposals of one image.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import proposals_of
from keras_frcnn.evaluation.matching.judging import Objects, RankedDetections, best_objects, judge, rows_by_image
from keras_frcnn.evaluation.matching.overlap import pairwise_iou

FALSE_POSITIVES = ("localisation", "confusion", "both", "duplicate", "background")
MISSED = "missed"
KINDS = (*FALSE_POSITIVES, MISSED)  # of errors, in the order of the tables
CAUSES = ("no proposal", "suppressed", "low score", "unknown")
SIZES = ("small", "medium", "large")

_FINDS = ("localisation", "confusion")  # fixing a false positive of these kinds can find an object
_SIZE_LIMITS = (32.0**2, 96.0**2)  # pixels: the areas from which COCO calls an object medium and large


class Thresholds(NamedTuple):
    """The IoUs that decide about labels."""

    foreground: float = 0.5  # t_f: a match has an IoU above this
    background: float = 0.1  # t_b: a detection with a lower IoU with every object lies on the background
    suppression: float = 0.3  # the detector's NMS drops a box whose IoU with a better one of its class is above this


class FalsePositives(NamedTuple):
    """A label for each detection."""

    right: np.ndarray  # (D,) bool; a detection that is neither right nor labelled lies on a difficult object
    kinds: np.ndarray  # (D,) str, one of FALSE_POSITIVES; "" for a detection that is not a false positive
    targets: np.ndarray  # (D,) index of the object that the detection is on or aims at; -1: none
    finds: np.ndarray  # (D,) bool; fixing this localisation or confusion error finds its target


class Misses(NamedTuple):
    """The objects without a right detection, difficult ones excluded."""

    objects: np.ndarray  # (M,) ascending indices of the objects
    kinds: np.ndarray  # (M,) str: the kind of error whose fix finds the object, or "missed"
    causes: np.ndarray  # (M,) str, one of CAUSES
    sizes: np.ndarray  # (M,) str, one of SIZES


def label_false_positives(objects: Objects, ranked: RankedDetections, thresholds: Thresholds) -> FalsePositives:
    """Label each false positive with exactly one of `FALSE_POSITIVES`."""
    verdict = judge(objects, ranked, thresholds.foreground)
    other_object, other_iou = best_objects(objects, ranked, same_class=False)
    kinds = np.where(verdict.wrong, error_kinds(verdict.best_iou, other_iou, thresholds), "")

    on_own = verdict.right | np.isin(kinds, ("localisation", "duplicate"))
    on_difficult = ~verdict.right & ~verdict.wrong
    targets = np.where(on_own | on_difficult, verdict.best_object, np.where(kinds == "confusion", other_object, -1))

    found = np.zeros(len(objects.images), bool)
    found[targets[verdict.right]] = True
    aiming = np.flatnonzero(np.isin(kinds, _FINDS))
    aiming = aiming[~found[targets[aiming]] & ~objects.difficult[targets[aiming]]]
    _, first = np.unique(targets[aiming], return_index=True)  # of each object, the error with the highest score
    finds = np.zeros(len(kinds), bool)
    finds[aiming[first]] = True
    return FalsePositives(verdict.right, kinds, targets, finds)


def error_kinds(own_iou: np.ndarray, other_iou: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """The label of each false positive.

    Args:
      own_iou: (D,) highest IoU with an object of its class.
      other_iou: (D,) highest IoU with an object of another class.
      thresholds: t_f and t_b.

    Returns:
      (D,) str, of `FALSE_POSITIVES`.
    """
    foreground, background = thresholds.foreground, thresholds.background
    conditions = {
        "localisation": (own_iou >= background) & (own_iou <= foreground),
        "confusion": other_iou > foreground,
        "duplicate": own_iou > foreground,
        "background": (own_iou < background) & (other_iou < background),
    }
    return np.select(list(conditions.values()), list(conditions), default="both")


def label_misses(
    examples: Sequence[Example],
    objects: Objects,
    ranked: RankedDetections,
    false_positives: FalsePositives,
    thresholds: Thresholds,
    proposals: Mapping[str, np.ndarray] | None = None,
) -> Misses:
    """Label each missed object with its kind, cause and size.

    The first condition that holds decides about the cause:

    1. no proposal: no proposal overlaps the object with an IoU above t_f.
    2. suppressed: a detection hides it.  Either a confusion error aims at the object, so that its box was reported
       under another class, or a detection of its class overlaps it with an IoU above `Thresholds.suppression`, so that
       NMS removes any lower-scored box that lies on the object.
    3. low score: a proposal reaches the object, but the head gave no box on it a score above the detector's threshold.

    Without proposals, the first condition cannot be tested, so all causes are "unknown".

    Args:
      examples: the images, in the order of `objects.images`.
      objects: their objects.
      ranked: the detections of all images, with the low scores that count for AP.
      false_positives: the labels of the detections.
      thresholds: t_f and the IoU of NMS.
      proposals: image id -> (P, 4) boxes that the detector classified, yxyx, continuous corners, pixels of the picture
        before resizing.  An image without proposals needs an empty array.

    Raises:
      InputError: an image has no entry in `proposals`.
    """
    missed = ~objects.difficult
    missed[false_positives.targets[false_positives.right]] = False
    kinds = np.full(len(missed), MISSED, dtype="<U12")
    kinds[false_positives.targets[false_positives.finds]] = false_positives.kinds[false_positives.finds]

    causes = np.full(len(missed), "unknown", dtype="<U12")
    if proposals is not None:
        reached = _proposal_iou(examples, objects, proposals) > thresholds.foreground
        hidden = _detection_iou(objects, ranked) > thresholds.suppression
        hidden[false_positives.targets[false_positives.kinds == "confusion"]] = True
        causes = np.where(~reached, "no proposal", np.where(hidden, "suppressed", "low score"))

    rows = np.flatnonzero(missed)
    return Misses(rows, kinds[rows], causes[rows], object_sizes(objects.areas[rows]))


def object_sizes(areas: np.ndarray) -> np.ndarray:
    """The size of each object, of `SIZES`, by its area in pixels: (G,) float to (G,) str."""
    return np.array(SIZES)[np.searchsorted(_SIZE_LIMITS, areas, side="right")]


def _proposal_iou(examples: Sequence[Example], objects: Objects, proposals: Mapping[str, np.ndarray]) -> np.ndarray:
    """(G,) the highest IoU of each object with a proposal; 0 without one."""
    best = []
    for example in examples:
        boxes = proposals_of(example.image_id, proposals)
        best.append(pairwise_iou(boxes, example.boxes).max(axis=0, initial=0.0))
    return np.concatenate([np.zeros(0), *best])


def _detection_iou(objects: Objects, ranked: RankedDetections) -> np.ndarray:
    """(G,) the highest IoU of each object with a detection of its class; 0 without one."""
    best = np.zeros(len(objects.images))
    for own, rows in rows_by_image(objects, ranked):
        iou = pairwise_iou(ranked.boxes[rows], objects.boxes[own])
        iou *= ranked.classes[rows, None] == objects.classes[own]
        best[own] = iou.max(axis=0)
    return best
