"""The one form in which every data source hands over its pictures and objects."""

from typing import NamedTuple

import numpy as np


class Example(NamedTuple):
    """One picture and its objects, in pixels of the stored picture."""

    image_id: str  # unique in its data set; also names the files made for this picture
    image_path: str
    height: int  # of the stored picture, EXIF orientation not applied
    width: int
    boxes: np.ndarray  # (N, 4) float32, yxyx, 0-based continuous corners
    classes: np.ndarray  # (N,) int32, 1..len(class_names)
    difficult: np.ndarray  # (N,) bool


class Dataset(NamedTuple):
    """All examples of one split."""

    name: str  # as the user gave it, for messages
    class_names: tuple[str, ...]  # without background; class i is class_names[i - 1]
    examples: tuple[Example, ...]
    problems: dict[str, tuple[str, ...]]  # kind of repaired fault -> the files it was found in, once for each object
