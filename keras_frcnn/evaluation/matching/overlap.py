"""Overlap of boxes in NumPy and float64, for the evaluations."""

import numpy as np


def pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of A with each box of B.

    The arithmetic is in float64 for boxes of any type: published results have overlaps that equal a threshold exactly
    (0.5 from boxes of whole pixels), and rounding would change their outcome.

    Args:
      boxes_a: (M, 4), yxyx, continuous corners.
      boxes_b: (N, 4), in the same frame.

    Returns:
      (M, N) float64.  The overlap of two boxes without area is 0, never NaN.
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
