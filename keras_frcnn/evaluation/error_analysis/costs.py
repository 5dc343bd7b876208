"""What each kind of error costs: the average precision that fixing it alone would give back.

Source: the oracles of TIDE (Bolya et al., ECCV 2020, section 2.3 and the published code):

- localisation: the detection gets the box of the object.  If the object is found already, or an error with a higher
  score aims at it, the detection is removed.
- confusion: the detection gets the class of the object, or is removed under the same conditions.
- both, duplicate, background: the detection is removed.
- missed: the object is removed from the total of its class, because a new detection would need an invented score.

The costs do not add up to the missing mAP, because precision and recall are not sums.  Each error has exactly one kind,
though, so that fixing all kinds together gives an AP of 1.

Axes: D detections by descending score; K classes.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from keras_frcnn.evaluation.error_analysis.labels import KINDS, MISSED, FalsePositives, Misses
from keras_frcnn.evaluation.matching.judging import Objects, RankedDetections
from keras_frcnn.evaluation.metrics.voc_ap import average_precision_area


class ErrorCost(NamedTuple):
    """One kind of error, its number and its cost."""

    kind: str  # one of KINDS
    false_positives: int  # detections of this kind; 0 for "missed"
    misses: int  # objects that fixing this kind finds, or removes from the total
    mean_ap: float  # mAP (area) if this kind alone is fixed; NaN if there are no objects
    cost: float  # mean_ap minus the mAP of the detector
    class_costs: np.ndarray  # (K,) the same difference for the AP of each class; NaN for a class without objects


class LabelledErrors(NamedTuple):
    """Everything that the costs follow from."""

    objects: Objects
    ranked: RankedDetections
    false_positives: FalsePositives
    misses: Misses


def error_costs(errors: LabelledErrors, class_count: int) -> tuple[ErrorCost, ...]:
    """The cost of each kind in `KINDS`, in this order."""
    before = class_aps(errors, class_count)
    costs = []
    for kind in KINDS:
        fixed = class_aps(errors, class_count, fixed={kind})
        costs.append(
            ErrorCost(
                kind=kind,
                false_positives=int(np.sum(errors.false_positives.kinds == kind)),
                misses=int(np.sum(errors.misses.kinds == kind)),
                mean_ap=mean_of_classes(fixed),
                cost=mean_of_classes(fixed) - mean_of_classes(before),
                class_costs=fixed - before,
            )
        )
    return tuple(costs)


def class_aps(errors: LabelledErrors, class_count: int, fixed: Collection[str] = ()) -> np.ndarray:
    """AP (area) of each class after the kinds of errors in `fixed` are fixed.

    If all objects of a class are removed from its total, its AP is 1 without false positives, and 0 with them.

    Returns:
      (K,) AP; NaN for a class without objects.
    """
    objects, ranked, false_positives, misses = errors
    is_fixed = np.isin(false_positives.kinds, list(fixed))
    found = is_fixed & false_positives.finds
    right = false_positives.right | found
    wrong = (false_positives.kinds != "") & ~is_fixed
    classes = ranked.classes.copy()
    classes[found] = objects.classes[false_positives.targets[found]]

    removed = misses.objects[misses.kinds == MISSED] if MISSED in fixed else misses.objects[:0]
    aps = np.full(class_count, np.nan)
    for index in range(class_count):
        total = np.sum((objects.classes == index + 1) & ~objects.difficult)
        if total:
            counted = total - np.sum(objects.classes[removed] == index + 1)
            rows = (classes == index + 1) & (right | wrong)
            aps[index] = _average_precision(right[rows], int(counted))
    return aps


def mean_of_classes(values: np.ndarray) -> float:
    """The mean of (K,) without NaN; NaN if there is nothing else."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _average_precision(right: np.ndarray, total: int) -> float:
    """AP (area) of one class: `right` (D,) bool of each detection that counts, best first; `total` objects."""
    if total == 0:
        return float(len(right) == 0)
    reached = np.cumsum(right)
    return average_precision_area(reached / total, reached / np.arange(1, len(right) + 1))
