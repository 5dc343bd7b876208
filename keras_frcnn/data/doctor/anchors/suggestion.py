"""Anchors that fit the objects of a data set, found by a search.

The search changes one scale or one ratio at a time and keeps what covers more objects at the IoUs of COVERAGE_IOUS,
counted with real positions of the anchors as in `coverage.best_ious`.  It begins at quantiles of the objects' own
scales and ratios.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from keras_frcnn.data.doctor.anchors.coverage import COVERAGE_IOUS, best_ious
from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.facts.config import AnchorConfig

# The tried numbers of scales and of ratios.  The paper has 3 of each.
SHAPES = ((3, 1), (4, 1), (3, 2), (4, 2), (3, 3), (5, 2), (4, 3))
MANY_SHAPES = ((5, 3), (4, 5), (6, 4))  # for data that fewer anchors do not cover
ENOUGH_OBJECTS = 10  # fewer give no suggestion

_SAMPLE = 1000  # objects that the search looks at
_FACTORS = (0.8, 0.9, 0.96, 1.04, 1.1, 1.25)
_ROUNDS = 4
_WORTH = 0.01  # the gain in the score that a larger set of anchors must bring


def suggest_anchors(
    objects: Objects, seed: int = 0, shapes: Sequence[tuple[int, int]] = SHAPES, rounding: str = AnchorConfig.shapes
) -> AnchorConfig | None:
    """Scales and ratios that cover the objects well; None for fewer than `ENOUGH_OBJECTS` that are not difficult.

    Each class counts the same, so that a class with few objects is not left out.  `shapes` are the numbers of scales
    and ratios to try, few first: a larger set must cover clearly more.  `rounding` is `AnchorConfig.shapes` of the
    result.
    """
    objects = objects.select(~objects.difficult)
    if len(objects.boxes) < ENOUGH_OBJECTS:
        return None
    objects = _balanced_sample(objects, seed)
    chosen, chosen_score = None, -1.0
    for count in shapes:
        found, score = _search(objects, *count, rounding)
        if score > chosen_score + _WORTH:
            chosen, chosen_score = found, score
    return chosen


def _balanced_sample(objects: Objects, seed: int) -> Objects:
    """At most `_SAMPLE` objects, about equally many of each class that has so many."""
    rng = np.random.default_rng(seed)
    present = np.unique(objects.classes)
    share = max(1, _SAMPLE // len(present))
    chosen = np.zeros(len(objects.boxes), bool)
    for index in present:
        chosen[rng.permutation(np.flatnonzero(objects.classes == index))[:share]] = True
    return objects.select(chosen)


def _search(objects: Objects, scale_count: int, ratio_count: int, rounding: str) -> tuple[AnchorConfig, float]:
    """The best anchors that the search finds with these numbers of scales and ratios, and their score."""
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    scales = _quantiles(np.sqrt(sides.prod(axis=1)), scale_count)
    ratios = _quantiles(sides[:, 0] / sides[:, 1], ratio_count)
    best = _rounded(scales, ratios, rounding)
    best_score = _score(objects, best)
    for _ in range(_ROUNDS):
        before = best_score
        for changed in _changes(best):
            score = _score(objects, changed)
            if score > best_score:
                best, best_score = changed, score
        if best_score == before:
            break
    return best, best_score


def _quantiles(values: np.ndarray, count: int) -> list[float]:
    """The middles of `count` equally full parts of `values` (N,)."""
    return np.quantile(values, (np.arange(count) + 0.5) / count).tolist()


def _changes(anchors: AnchorConfig) -> Iterator[AnchorConfig]:
    """Each scale and each ratio multiplied by each factor, one at a time."""
    for index, factor in itertools.product(range(len(anchors.scales)), _FACTORS):
        scales = [scale * (factor if place == index else 1) for place, scale in enumerate(anchors.scales)]
        yield _rounded(scales, anchors.ratios, anchors.shapes)
    for index, factor in itertools.product(range(len(anchors.ratios)), _FACTORS):
        ratios = [ratio * (factor if place == index else 1) for place, ratio in enumerate(anchors.ratios)]
        yield _rounded(anchors.scales, ratios, anchors.shapes)


def _rounded(scales: Sequence[float], ratios: Sequence[float], shapes: str) -> AnchorConfig:
    """Anchors with scales of whole pixels and ratios of two decimals, in ascending order."""
    return AnchorConfig(
        tuple(sorted(float(max(1, round(scale))) for scale in scales)),
        tuple(sorted(max(0.05, round(float(ratio), 2)) for ratio in ratios)),
        shapes,
    )


def _score(objects: Objects, anchors: AnchorConfig) -> float:
    """The mean over the classes of the shares of objects that are covered, and a tenth of their mean IoU.

    The mean IoU leads the search where no small change covers one more object.
    """
    ious = best_ious(objects.boxes, objects.sizes, anchors.scales, anchors.ratios, anchors.shapes)
    worth = sum((ious >= least) / len(COVERAGE_IOUS) for least in COVERAGE_IOUS) + 0.1 * ious
    return float(np.mean([worth[objects.classes == index].mean() for index in np.unique(objects.classes)]))
