"""The one form in which every data source gives its pictures and objects."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Example(NamedTuple):
    """One picture and its N objects.  Boxes and sizes are in pixels of the picture after `orientation` is applied."""

    image_id: str  # unique in its data set; files made for this picture are named after it
    image_path: str
    height: int  # of the picture after `orientation` is applied
    width: int
    boxes: np.ndarray  # (N, 4) float32, yxyx, 0-based continuous corners
    classes: np.ndarray  # (N,) int32, 1..len(class_names)
    difficult: np.ndarray  # (N,) bool; such objects are neither trained on nor counted in evaluations
    orientation: int = 1  # the EXIF orientation to apply when the picture is decoded, 1..8; 1: as the file stores it
    crowd: np.ndarray | None = None  # (N,) bool, regions of many objects (COCO), also difficult; None: there are none
    areas: np.ndarray | None = None  # (N,) float64, pixels, for COCO's sizes; None: the areas of the boxes

    @property
    def is_crowd(self) -> np.ndarray:
        """Whether each object is a crowd region: (N,) bool."""
        return np.zeros(len(self.boxes), bool) if self.crowd is None else self.crowd


class Dataset(NamedTuple):
    """All examples of one split."""

    name: str  # the data source and the split as the user wrote them, for messages
    class_names: tuple[str, ...]  # without background; class i is class_names[i - 1]
    examples: tuple[Example, ...]
    problems: dict[str, tuple[str, ...]]  # kind of problem -> the files that have it, once for each time it occurs
    exif: str = "ignore"  # what the boxes refer to: pictures with the EXIF orientation applied ("apply"), or not

    def select(self, indices: Iterable[int]) -> "Dataset":
        """The data set with the examples of these indices alone, in the order of the indices."""
        return self._replace(examples=tuple(self.examples[index] for index in indices))
