"""The score threshold at which each class has its best F1.

F1 = 2 TP / (TP + FP + objects) is the harmonic mean of precision and recall.  Detections on difficult objects do not
count.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.evaluation.error_analysis.labels import FalsePositives
from keras_frcnn.evaluation.matching.judging import Objects, RankedDetections

ALL_CLASSES = "all classes"


class BestF1(NamedTuple):
    """The best F1 of one class, and the threshold that gives it."""

    class_name: str
    threshold: float  # detections with at least this score are kept; NaN if no threshold gives an F1 above 0
    f1: float  # NaN if there are no objects, 0 if no detection is right
    precision: float  # at the threshold; NaN without a threshold
    recall: float  # at the threshold; NaN without a threshold


def best_f1_thresholds(
    objects: Objects, ranked: RankedDetections, false_positives: FalsePositives, class_names: Sequence[str]
) -> tuple[BestF1, ...]:
    """The best threshold of each class, and last that of all classes together, with one threshold for all.

    Of several thresholds with the same F1, the highest one is given.
    """
    counts = false_positives.right | (false_positives.kinds != "")
    easy = ~objects.difficult
    results = []
    for index, name in enumerate((*class_names, ALL_CLASSES), start=1):
        rows, total = counts, int(np.sum(easy))
        if index <= len(class_names):
            rows, total = counts & (ranked.classes == index), int(np.sum(easy & (objects.classes == index)))
        results.append(_best_f1(name, false_positives.right[rows], ranked.scores[rows], total))
    return tuple(results)


def _best_f1(name: str, right: np.ndarray, scores: np.ndarray, total: int) -> BestF1:
    """The best threshold for detections (D,) by descending score: whether each is right, and its score."""
    found = np.cumsum(right)
    kept = np.arange(1, len(right) + 1)
    # A threshold keeps all detections of equal score or none of them, so only the last one of them is a candidate.
    candidates = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)[: len(scores)])
    f1 = 2 * found[candidates] / (kept[candidates] + total)
    if not total or not np.any(f1 > 0):
        return BestF1(name, math.nan, 0.0 if total else math.nan, math.nan, math.nan)
    best = candidates[np.argmax(f1)]
    return BestF1(
        name, float(scores[best]), float(f1.max()), float(found[best] / kept[best]), float(found[best] / total)
    )
