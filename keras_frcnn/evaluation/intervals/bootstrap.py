"""Confidence intervals of average precision and recall, by the bootstrap over images.

A bootstrap sample draws as many images as the split has, with replacement, and each figure is computed for it.
Detections are not matched again: an image that is drawn w times counts w times, so the matches of the evaluation get
integer weights.

The interval is the basic one.  If q is the figure of the split, and a and b are the 2.5 % and 97.5 % points of the
figures of the samples, it runs from 2 q - b to 2 q - a.  The simpler percentile interval, from a to b, is wrong for
average precision: with few objects, average precision comes out too high.  The samples repeat this error, so that the
percentile interval contains it twice, while the basic interval subtracts it.

The intervals describe the choice of test images.  They do not describe how much two trainings of the same detector
differ.

Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2 (basic interval).

Axes: B bootstrap samples, I images, F figures, N numbers of proposals, T IoU thresholds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.evaluation.intervals.weighted_ap import (
    COCO_THRESHOLDS,
    VOC_THRESHOLDS,
    area_ap,
    divide,
    interpolated_ap,
    weighted_curves,
)
from keras_frcnn.evaluation.matching.matches import ClassMatches, found_by_image
from keras_frcnn.evaluation.metrics.coco_ap import SIZES, COCOClass, COCOResult, Figures
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import VOCResult

RESAMPLES = 1000
LEVEL = 0.95
_MOST_WEIGHTS = 20_000_000  # numbers in memory at once


class Interval(NamedTuple):
    """A confidence interval.  Both ends are NaN if the figure is."""

    low: float
    high: float


class Intervals(NamedTuple):
    """The intervals of one evaluation by the names of its figures."""

    means: dict[str, Interval]  # of the figures over all classes
    classes: dict[str, dict[str, Interval]]  # class name -> the figures of this class


def draw_samples(images: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each bootstrap sample draws each image.

    Args:
      images: the number of images I.
      resamples: the number of bootstrap samples B.
      seed: the same seed draws the same samples.

    Returns:
      (1 + B, I) int32; the first row is the split itself, with every image once.
    """
    rng = np.random.default_rng(seed)
    samples = np.ones((1 + resamples, images), np.int32)
    for row in samples[1:]:
        row[:] = np.bincount(rng.integers(0, max(images, 1), images), minlength=images)
    return samples


def voc_intervals(result: VOCResult, samples: np.ndarray) -> Intervals:
    """Intervals of both VOC metrics: `ap_11point` and `ap_area`.

    Args:
      result: the evaluation.
      samples: (1 + B, I) from `draw_samples`.
    """

    def values(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:  # (rows, 2)
        ((found, envelope, total),) = weighted_curves(matches, weights)
        eleven = interpolated_ap(found, envelope, total, VOC_THRESHOLDS)
        return np.stack([eleven, area_ap(found, envelope, total)], axis=1)

    classes = {entry.class_name: _in_parts(values, entry.matches, samples) for entry in result.classes}
    return _summarize(("ap_11point", "ap_area"), classes)


def coco_intervals(result: COCOResult, samples: np.ndarray) -> Intervals:
    """Intervals of COCO's twelve figures, by the names of `Figures`.

    Args:
      result: the evaluation.
      samples: (1 + B, I) from `draw_samples`.
    """
    classes = {entry.class_name: _coco_values(entry, samples) for entry in result.classes}
    return _summarize(Figures._fields, classes)


def recall_intervals(result: RecallResult, samples: np.ndarray) -> np.ndarray:
    """Intervals of the recall of proposals.

    Args:
      result: the evaluation; it must have `reached`, so it must not be read from a file.
      samples: (1 + B, I) from `draw_samples`.

    Returns:
      (N, T, 2) the low and the high end for each number of proposals and IoU threshold.

    Raises:
      ValueError: the result has no `reached`.
    """
    if result.reached is None or result.objects_by_image is None:
        raise ValueError("a result that was read from a file has no counts for each image: measure the recall again")
    images, numbers, thresholds = result.reached.shape
    counts = result.reached.reshape(images, numbers * thresholds)
    recalls = divide(_sums(samples, counts), _sums(samples, result.objects_by_image)[:, None])
    return np.array([_basic(column) for column in recalls.T]).reshape(numbers, thresholds, 2)


def _coco_values(entry: COCOClass, samples: np.ndarray) -> np.ndarray:
    """(1 + B, 12) the figures of one class in each sample."""

    def precisions(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:  # (rows, T)
        curves = weighted_curves(matches, weights)
        return np.stack([interpolated_ap(*curve, COCO_THRESHOLDS) for curve in curves], axis=1)

    def recall(found: np.ndarray, size: str) -> np.ndarray:  # (1 + B,); `found` is (T, I)
        return divide(_sums(samples, found.mean(axis=0)), _sums(samples, entry.matches[size].objects))

    by_size = {size: _in_parts(precisions, entry.matches[size], samples) for size in SIZES}
    figures = {
        "ap": by_size["all"].mean(axis=1),
        "ap50": by_size["all"][:, 0],
        "ap75": by_size["all"][:, 5],
        "ap_small": by_size["small"].mean(axis=1),
        "ap_medium": by_size["medium"].mean(axis=1),
        "ap_large": by_size["large"].mean(axis=1),
        "ar1": recall(entry.found[1], "all"),
        "ar10": recall(entry.found[10], "all"),
        "ar100": recall(entry.found[100], "all"),
        "ar_small": recall(found_by_image(entry.matches["small"]), "small"),
        "ar_medium": recall(found_by_image(entry.matches["medium"]), "medium"),
        "ar_large": recall(found_by_image(entry.matches["large"]), "large"),
    }
    return np.stack([figures[name] for name in Figures._fields], axis=1)


def _in_parts(
    values: Callable[[ClassMatches, np.ndarray], np.ndarray], matches: ClassMatches, samples: np.ndarray
) -> np.ndarray:
    """`values(matches, samples)`, computed for some of the samples at a time to limit the memory."""
    size = max(_MOST_WEIGHTS // max(len(matches.images), 1), 1)
    parts = [values(matches, samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate(parts)


def _sums(samples: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum over the images of each sample; `counts` is (I,) or (I, F).  float64 is exact, and faster than int64."""
    return samples.astype(np.float64) @ counts.astype(np.float64)


def _summarize(names: Sequence[str], classes: dict[str, np.ndarray]) -> Intervals:
    """The intervals of figures by their names.

    Args:
      names: (F,) names of the figures.
      classes: class name -> (1 + B, F) the figures of the class in each sample, NaN in samples without its objects.
    """
    stacked = np.stack(list(classes.values()))  # (classes, 1 + B, F)
    # A class without objects in a sample keeps its figure of the split.  Without it, the mean would run over other
    # classes than that of the split, and rare classes would shift the interval.
    filled = np.where(np.isnan(stacked), stacked[:, :1], stacked)
    counted = ~np.isnan(filled)
    means = divide(np.where(counted, filled, 0.0).sum(axis=0), counted.sum(axis=0))
    return Intervals(_by_name(names, means), {name: _by_name(names, values) for name, values in classes.items()})


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, Interval]:
    return {name: _basic(column) for name, column in zip(names, values.T, strict=True)}


def _basic(values: np.ndarray) -> Interval:
    """The basic interval, cut off at 0 and 1.

    Args:
      values: (1 + B,) the figure of the split and of each sample.  Samples without objects, NaN, are left out.
    """
    value, samples = values[0], values[1:]
    samples = samples[~np.isnan(samples)]
    if np.isnan(value) or not len(samples):
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(samples, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
    return Interval(float(np.clip(2 * value - high, 0, 1)), float(np.clip(2 * value - low, 0, 1)))
