"""The objects of a data set as one table, in pixels of the resized pictures.

Axes: P pictures, N objects of all pictures.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures.images import resized_size
from keras_frcnn.facts.config import ImageConfig


class Objects(NamedTuple):
    """All objects of some data sets, also the difficult ones."""

    examples: tuple[Example, ...]  # P
    pictures: np.ndarray  # (N,) int64, index into `examples`
    boxes: np.ndarray  # (N, 4) float64, yxyx, pixels of the resized picture
    sizes: np.ndarray  # (N, 2) float64, height and width of the resized picture
    classes: np.ndarray  # (N,) int64, index into `class_names`
    difficult: np.ndarray  # (N,) bool
    class_names: tuple[str, ...]  # of all data sets, in the order of their first occurrence

    def select(self, mask: np.ndarray) -> "Objects":
        """The objects where `mask` (N,) is true."""
        return self._replace(
            pictures=self.pictures[mask],
            boxes=self.boxes[mask],
            sizes=self.sizes[mask],
            classes=self.classes[mask],
            difficult=self.difficult[mask],
        )


def gather_objects(datasets: Iterable[Dataset], image: ImageConfig) -> Objects:
    """The objects of the data sets in order; classes of the same name are one class."""
    datasets = tuple(datasets)
    class_names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.class_names))
    number = {name: index for index, name in enumerate(class_names)}
    examples = tuple(example for dataset in datasets for example in dataset.examples)
    classes = [
        np.array([number[name] for name in dataset.class_names], np.int64)[example.classes - 1]
        for dataset in datasets
        for example in dataset.examples
    ]
    pictures = np.repeat(np.arange(len(examples)), [len(example.boxes) for example in examples])
    stored = np.array([(example.height, example.width) for example in examples], np.int64).reshape(-1, 2)
    resized = _resized_sizes(stored, image)
    factors = np.tile(resized / stored, 2)[pictures]
    return Objects(
        examples,
        pictures,
        np.concatenate([np.zeros((0, 4)), *(example.boxes for example in examples)]) * factors,
        resized[pictures],
        np.concatenate([np.zeros(0, np.int64), *classes]),
        np.concatenate([np.zeros(0, bool), *(example.difficult for example in examples)]),
        class_names,
    )


def _resized_sizes(stored: np.ndarray, image: ImageConfig) -> np.ndarray:
    """The sizes (P, 2) float64 of the resized pictures of sizes `stored` (P, 2)."""
    if not len(stored):
        return np.zeros((0, 2))
    unique, inverse = np.unique(stored, axis=0, return_inverse=True)
    # One call for each size would take minutes for a data set with many sizes.
    sizes = tf.vectorized_map(lambda size: resized_size(size, image.short_side, image.long_side), tf.constant(unique))
    return sizes.numpy().astype(np.float64)[inverse.reshape(-1)]
