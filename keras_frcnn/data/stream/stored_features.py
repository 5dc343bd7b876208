"""Backbone features stored in files, one picture per file.

Axes: N examples; h w feature cells, c channels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.stream.tensor_files import read_tensors, write_tensors
from keras_frcnn.facts.structures import Tensor


class FeatureFiles(NamedTuple):
    """The files that hold the features of a data set."""

    paths: np.ndarray  # (N, 2) str, for each example the picture as it is and flipped; "" if it is not stored
    dtype: str  # of the stored features


def write_features(path: str | Path, features: Tensor, image_size: Tensor, original_size: Tensor) -> None:
    """Store the features of one picture.

    Args:
      path: file to write.
      features: (h, w, c).
      image_size: (2,) int32, height and width in pixels of the resized picture.
      original_size: (2,) int32, height and width of the picture in pixels, before resizing.
    """
    write_tensors(path, (tf.stack([image_size, original_size]), features))


def read_features(path: Tensor, dtype: tf.DType) -> tuple[Tensor, Tensor, Tensor]:
    """Read the features of one picture, inside or outside a graph.

    Args:
      path: () string, a file of `write_features`.
      dtype: of the stored features.

    Returns:
      Features (h, w, c), image size (2,) int32 and original size (2,) int32, as in `write_features`.

    Raises the errors of `read_tensors`.
    """
    sizes, features = read_tensors(path, (tf.int32, dtype))
    sizes = tf.ensure_shape(sizes, [2, 2])
    return tf.ensure_shape(features, [None, None, None]), sizes[0], sizes[1]
