"""Average precision of weighted images: each image counts as often as its weight says.

Source: the same rules as in `voc_ap` and in pycocotools' `accumulate`; weights of 1 give their figures.

Axes: B sets of weights (bootstrap samples), I images, T IoU thresholds, D detections of one class by descending score,
H right ones among them, R recall thresholds.
"""

from collections.abc import Iterator

import numpy as np

from keras_frcnn.evaluation.matching.matches import ClassMatches

VOC_THRESHOLDS = np.arange(0.0, 1.1, 0.1)  # as in voc_ap
COCO_THRESHOLDS = np.linspace(0.0, 1.0, 101)  # as pycocotools makes them


def weighted_curves(matches: ClassMatches, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The curve of precision over recall with each set of weights, for each IoU threshold.

    Only points at right detections are returned: recall does not rise between them, and precision only falls.

    Args:
      matches: the detections of one class.
      weights: (B, I) int32, how often each set counts each image.

    Yields:
      For each IoU threshold: (B, H) the number of objects found up to each right detection; (B, H) the highest
      precision there or later; and (B,) the number of objects.
    """
    total = weights @ matches.objects
    used = np.flatnonzero(~matches.ignored.all(axis=0))
    counted = np.cumsum(weights[:, matches.images[used]], axis=1, dtype=np.int32)  # (B, used D)
    for right, ignored in zip(matches.right[:, used], matches.ignored[:, used], strict=True):
        hits, skipped = np.flatnonzero(right), np.flatnonzero(ignored)
        found = np.cumsum(weights[:, matches.images[used[hits]]], axis=1, dtype=np.int32)
        ranked = counted[:, hits]
        if len(skipped):
            skips = np.cumsum(weights[:, matches.images[used[skipped]]], axis=1, dtype=np.int32)
            before = np.searchsorted(skipped, hits)  # how many ignored detections rank above each right one
            ranked = ranked - np.where(before > 0, skips[:, np.maximum(before - 1, 0)], 0)
        precision = divide(found, ranked, empty=0.0)
        yield found, np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1], total


def area_ap(found: np.ndarray, envelope: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(B,) the area under each curve of `weighted_curves`; NaN without objects."""
    gained = np.diff(found, axis=1, prepend=0)
    return divide(np.sum(gained * envelope, axis=1), total)


def interpolated_ap(found: np.ndarray, envelope: np.ndarray, total: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(B,) the mean precision at the recall thresholds of each curve of `weighted_curves`; NaN without objects.

    Args:
      found, envelope, total: a curve of `weighted_curves`.
      thresholds: (R,) recall thresholds.
    """
    sets, hits = found.shape
    if hits == 0:
        return np.where(total > 0, 0.0, np.nan)
    # The objects needed to reach each threshold, as whole numbers: found / total >= threshold in float64.
    needed = np.floor(thresholds * total[:, None]).astype(np.int64)
    needed += divide(needed, total[:, None]) < thresholds
    # One search for all sets: each has its own range of numbers.
    span = int(total.max(initial=0)) + 3
    offsets = np.arange(sets)[:, None] * span
    places = np.searchsorted((found + offsets).ravel(), (needed + offsets).ravel()).reshape(needed.shape)
    places = np.minimum(places - np.arange(sets)[:, None] * hits, hits)
    padded = np.concatenate([envelope, np.zeros((sets, 1))], axis=1)  # recalls that are never reached
    means = np.take_along_axis(padded, places, axis=1).mean(axis=1)
    return np.where(total > 0, means, np.nan)


def divide(dividend: np.ndarray, divisor: np.ndarray, empty: float = float("nan")) -> np.ndarray:
    """The quotient in float64; `empty` where the divisor is 0."""
    shape = np.broadcast_shapes(dividend.shape, divisor.shape)
    return np.divide(dividend, divisor, out=np.full(shape, empty), where=divisor > 0)
