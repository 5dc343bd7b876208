"""Sliced detection: small objects in large pictures, after SAHI (https://arxiv.org/abs/2202.06934).

A network sees a picture after it was resized, so the small objects of a large picture become too small.  Here it looks
into overlapping slices of the picture as well, each of which it resizes less.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.api.finding.streaming import Finder, check_count
from keras_frcnn.api.pictures import PixelDetections
from keras_frcnn.facts.errors import InputError
from keras_frcnn.rules.suppression import suppress

OVERLAP = 0.25  # of neighbouring slices, as a share of their sides; objects up to this size are whole in some slice
LEAST_SIDE = 32  # of a slice: a smaller one has hardly an object in it, and a picture has thousands of them

_EDGE = 0.01  # a box that ends so close to the edge of its slice, as a share of its side, may belong to a cut object
_COVERED = 0.5  # the share of a cut object's box that a whole object must cover to be the same


class Slice(NamedTuple):
    """A part of a picture, in its pixels."""

    top: int
    left: int
    bottom: int
    right: int


class SlicedFinder(NamedTuple):
    """A `Finder` that looks into each picture and into its slices."""

    finder: Finder
    side: int  # of a slice, in pixels of the picture

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Finder`."""
        return self.finder.class_names

    @property
    def turns(self) -> bool:
        """See `Finder`."""
        return self.finder.turns

    @property
    def nms_iou(self) -> float:
        """See `Finder`."""
        return self.finder.nms_iou

    def find(self, pictures: Sequence[np.ndarray], batch_size: int) -> list[PixelDetections]:
        """All detections in each picture, (H, W, 3) uint8 RGB; at most `batch_size` slices run together."""
        whole = self.finder.find(pictures, batch_size)
        return [self._with_slices(picture, found, batch_size) for picture, found in zip(pictures, whole, strict=True)]

    def _with_slices(self, picture: np.ndarray, whole: PixelDetections, batch_size: int) -> PixelDetections:
        """The detections in one picture: those of the `whole` picture, and those of its slices."""
        size = picture.shape[:2]
        slices = slices_of(size, self.side)
        found, cut = [whole], [np.zeros(len(whole.scores), bool)]
        for start in range(0, len(slices), batch_size):  # only so many are resized and in memory
            some = slices[start : start + batch_size]
            pixels = [picture[one.top : one.bottom, one.left : one.right] for one in some]
            for one, inside in zip(some, self.finder.find(pixels, batch_size), strict=True):
                boxes = inside.boxes + np.array([one.top, one.left, one.top, one.left], np.float32)
                found.append(inside._replace(boxes=boxes))
                cut.append(is_cut(boxes, one, size, _EDGE * self.side))
        if not slices:
            return whole
        together = PixelDetections(*(np.concatenate(field) for field in zip(*found, strict=True)))
        return merged(together, np.concatenate(cut), self.nms_iou)


def sliced(finder: Finder, side: int | None) -> Finder:
    """The finder, or one that also looks into slices of a `side` in pixels.  Raises InputError for a wrong side."""
    check_side(side, "slice_size")
    return finder if side is None else SlicedFinder(finder, side)


def check_side(side: int | None, name: str) -> None:
    """Raise InputError unless `side` is None or that of a slice; `name` is the argument or option."""
    if side is None:
        return
    check_count(side, name)
    if side < LEAST_SIDE:
        raise InputError(name, f"{side} pixels are too few for a slice", f"give {LEAST_SIDE} or more")


def slices_of(size: tuple[int, int], side: int) -> list[Slice]:
    """The slices of a picture of `size`, height and width; none if it is not larger than one slice.

    They cover the picture, have the same size, and neighbours overlap by at least `OVERLAP` of `side`.
    """
    height, width = (min(side, extent) for extent in size)
    if (height, width) == size:
        return []
    starts = itertools.product(_starts(size[0], side), _starts(size[1], side))
    return [Slice(top, left, top + height, left + width) for top, left in starts]


def _starts(extent: int, side: int) -> Iterator[int]:
    """Where the slices of one axis of the picture start: evenly spread."""
    if extent <= side:
        return iter([0])
    count = 1 + math.ceil((extent - side) / max(1, math.floor(side * (1 - OVERLAP))))
    return ((extent - side) * number // (count - 1) for number in range(count))


def is_cut(boxes: np.ndarray, inside: Slice, size: tuple[int, int], distance: float) -> np.ndarray:
    """Mark the boxes that reach an edge of their slice which is not an edge of the picture: (N,) bool.

    boxes (N, 4) yxyx in pixels of the picture of `size`; they reach an edge from a `distance` in pixels on.
    """
    starts, ends = np.array(inside[:2]), np.array(inside[2:])
    before = (boxes[:, :2] <= starts + distance) & (starts > 0)
    behind = (boxes[:, 2:] >= ends - distance) & (ends < np.array(size))
    return np.any(before | behind, axis=1)


def merged(found: PixelDetections, cut: np.ndarray, iou_threshold: float) -> PixelDetections:
    """One detection for each object, best first.

    A box of a cut object is dropped if a box of its class that is not cut covers half of it.  Then non-maximum
    suppression chooses among all boxes of a class, as in a picture.

    Args:
        found: N detections of one picture, some of them of the same objects.
        cut: (N,) bool, the boxes that may belong to objects at the edge of a slice.
        iou_threshold: of non-maximum suppression.
    """
    kept = [
        _kept(found, np.flatnonzero(found.class_ids == one), cut, iou_threshold) for one in np.unique(found.class_ids)
    ]
    rows = np.concatenate([np.zeros(0, int), *kept])
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    return PixelDetections(*(field[rows] for field in found))


def _kept(found: PixelDetections, rows: np.ndarray, cut: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Those of the `rows`, which have one class, that `merged` keeps."""
    whole = found.boxes[rows[~cut[rows]]]
    rows = rows[~(cut[rows] & (_covered(found.boxes[rows], whole) >= _COVERED))]
    everything = tf.ones(len(rows), bool)
    chosen, valid = suppress(found.boxes[rows], found.scores[rows], everything, len(rows), iou_threshold)
    return rows[chosen.numpy()[valid.numpy()]]


def _covered(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The largest share of each box (N, 4) that one of the others (M, 4) covers: (N,)."""
    starts, ends = (np.float64(side) for side in np.split(boxes[:, None], 2, axis=2))
    common = np.minimum(ends, others[:, 2:]) - np.maximum(starts, others[:, :2])
    shares = np.maximum(common, 0).prod(axis=2) / np.maximum((ends - starts).prod(axis=2), np.finfo(float).tiny)
    return shares.max(axis=1, initial=0.0)
