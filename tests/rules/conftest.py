"""An oracle that the tests of suppression and of proposals share."""

import numpy as np
import pytest


def iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(height, 0) * max(width, 0)
    return intersection / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection)


def greedy_nms(boxes, scores, valid, count, iou_threshold):
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: -scores[i]):
        if len(kept) < count and all(iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(int(i))
    return kept


@pytest.fixture(scope="session")
def nms_oracle():
    """Greedy NMS: (boxes, scores, valid, count, iou_threshold) -> indices of the kept boxes, best first."""
    return greedy_nms
