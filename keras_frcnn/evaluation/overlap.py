"""Overlap of boxes in NumPy and float64, for the evaluations."""

import numpy as np


def pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of A with every box of B.

    Takes (M, 4) and (N, 4), yxyx continuous corners in one frame, and gives (M, N) float64.  A pair without area has
    an overlap of 0, never NaN.  The evaluations compare overlaps with thresholds that published results sit on
    exactly (0.5 from whole-pixel boxes), hence float64 here whatever the boxes are stored in.
    """
    a = np.asarray(boxes_a, np.float64).reshape(-1, 1, 4)
    b = np.asarray(boxes_b, np.float64).reshape(1, -1, 4)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., 2:], b[..., 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left, 0.0), axis=-1)
    area_a = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = np.prod(b[..., 2:] - b[..., :2], axis=-1)
    union = area_a + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
