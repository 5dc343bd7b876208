"""The outcome of comparing detections with objects, which average precision and its interval are computed from.

Axes: D detections of one class by descending score; T IoU thresholds; I images.
"""

from typing import NamedTuple

import numpy as np


class ClassMatches(NamedTuple):
    """Which detections of one class are right.  A detection that is neither right nor ignored is wrong."""

    images: np.ndarray  # (D,) int, position of each detection's image in the examples
    right: np.ndarray  # (T, D) bool
    ignored: np.ndarray  # (T, D) bool, neither right nor wrong
    objects: np.ndarray  # (I,) int, number of objects in each image, without the ignored ones


def found_by_image(matches: ClassMatches, counted: np.ndarray | bool = True) -> np.ndarray:
    """(T, I) the objects of each image that are found, by the detections for which `counted`, (D,) bool, is true."""
    images = len(matches.objects)
    return np.stack([np.bincount(matches.images[row], minlength=images) for row in matches.right & counted])
