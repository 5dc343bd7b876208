"""Anchor coverage: how well the configured anchors fit the objects.

An object is covered at an IoU if an anchor that training may use overlaps it that much.  Training uses the anchors of
the feature map's cells that lie inside the picture (section 3.3).  An object that no anchor covers at 0.7 still gets
its best anchor as a positive one (section 3.1.2), but learns from that one alone.

Axes: N objects, k anchors of each cell, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.facts.config import AnchorConfig
from keras_frcnn.geometry.anchors import base_anchors, base_areas

STRIDE = 16  # pixels of a feature cell: `backbone.STRIDE`, which modules of keras_frcnn.data must not import
COVERAGE_IOUS = (0.5, 0.7)


class ClassCoverage(NamedTuple):
    """The share of the objects of one class that the anchors cover."""

    class_name: str
    objects: int  # without the difficult ones
    shares: tuple[float, ...]  # for each of COVERAGE_IOUS; NaN without objects


class Coverage(NamedTuple):
    """The coverage of all objects that are not difficult."""

    anchors: AnchorConfig
    classes: tuple[ClassCoverage, ...]
    shares: tuple[float, ...]  # of all objects; NaN without objects
    best_ious: np.ndarray  # (N,) the best IoU of each object


def best_ious(
    boxes: np.ndarray, sizes: np.ndarray, scales: Sequence[float], ratios: Sequence[float], shapes: str = "exact"
) -> np.ndarray:
    """The highest IoU of each object with an anchor that training may use.

    For an anchor of one shape, the IoU falls with the distance of the centres in each direction.  So the best of its
    positions is the allowed one nearest to the object's centre, in each direction by itself.

    Args:
      boxes: (N, 4) yxyx in pixels of the resized picture.
      sizes: (N, 2) height and width of the resized picture.
      scales, ratios, shapes: of the anchors.

    Returns:
      (N,) float64; 0 for an object whose picture is too small for every anchor.
    """
    anchors = base_anchors(scales, ratios, shapes).astype(np.float64)
    areas = base_areas(scales, ratios, shapes).astype(np.float64)
    best = np.zeros(len(boxes))
    for anchor, area in zip(anchors, areas, strict=True):
        overlaps, allowed = [], np.ones(len(boxes), bool)
        for axis in (0, 1):
            low, high, fits = _nearest_position(boxes, sizes, anchor, axis)
            overlap = np.minimum(high, boxes[:, axis + 2]) - np.maximum(low, boxes[:, axis])
            overlaps.append(np.maximum(overlap, 0.0))
            allowed &= fits
        intersection = overlaps[0] * overlaps[1]
        union = area + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - intersection
        best = np.maximum(best, np.where(allowed, intersection / union, 0.0))
    return best


def _nearest_position(
    boxes: np.ndarray, sizes: np.ndarray, anchor: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ends of the anchor (4,) nearest to each object's centre along an axis, and whether it fits there: each (N,).

    The centre of cell i is (i + 0.5) * STRIDE.
    """
    half = anchor[axis + 2]
    centre = (boxes[:, axis] + boxes[:, axis + 2]) / 2
    cells = sizes[:, axis] // STRIDE
    first = np.ceil(half / STRIDE - 0.5)
    last = np.minimum(np.floor((sizes[:, axis] - half) / STRIDE - 0.5), cells - 1)
    cell = np.clip(np.round(centre / STRIDE - 0.5), first, np.maximum(last, first))
    middle = (cell + 0.5) * STRIDE
    return middle - half, middle + half, first <= last


def anchor_coverage(objects: Objects, anchors: AnchorConfig) -> Coverage:
    """The coverage of the objects that are not difficult, for each class and for all."""
    counted = objects.select(~objects.difficult)
    ious = best_ious(counted.boxes, counted.sizes, anchors.scales, anchors.ratios, anchors.shapes)
    classes = tuple(
        ClassCoverage(name, int((counted.classes == index).sum()), _shares(ious[counted.classes == index]))
        for index, name in enumerate(objects.class_names)
    )
    return Coverage(anchors, classes, _shares(ious), ious)


def _shares(ious: np.ndarray) -> tuple[float, ...]:
    """The share of `ious` (N,) of at least each of COVERAGE_IOUS; NaN where there are none."""
    return tuple(float((ious >= least).mean()) if len(ious) else float("nan") for least in COVERAGE_IOUS)
