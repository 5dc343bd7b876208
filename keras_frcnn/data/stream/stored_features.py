"""Backbone features stored in files, one picture per file.

The format is TFRecord: its CRC32C checksums reveal damaged files.

Axes: N examples; h w feature cells, c channels.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.stream.tuning import untuned
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
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in (tf.stack([image_size, original_size]), features):
            writer.write(tf.io.serialize_tensor(value).numpy())


def read_features(path: Tensor, dtype: tf.DType) -> tuple[Tensor, Tensor, Tensor]:
    """Read the features of one picture, inside or outside a graph.

    Args:
      path: () string, a file of `write_features`.
      dtype: of the stored features.

    Returns:
      Features (h, w, c), image size (2,) int32 and original size (2,) int32, as in `write_features`.

    Raises:
      tf.errors.DataLossError: the file is damaged.
      tf.errors.InvalidArgumentError: the file was cut off.
    """
    records = tf.ensure_shape(untuned(tf.data.TFRecordDataset(path).batch(2)).get_single_element(), [2])
    sizes = tf.ensure_shape(tf.io.parse_tensor(records[0], tf.int32), [2, 2])
    features = tf.ensure_shape(tf.io.parse_tensor(records[1], dtype), [None, None, None])
    return features, sizes[0], sizes[1]
