"""One picture's backbone features as a file: TFRecords, whose CRC32C checksums tell damage from data."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.tuning import untuned


class FeatureFiles(NamedTuple):
    """Where the features of a data set are stored."""

    paths: np.ndarray  # (N, 2) str: of each example as it is and flipped; "" where they are not stored
    dtype: str  # of the stored features


def write_features(path, features, image_size, original_size):
    """Store features (h, w, c) with the picture's resized and original size, (2,) int32 each."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in (tf.stack([image_size, original_size]), features):
            writer.write(tf.io.serialize_tensor(value).numpy())


def read_features(path, dtype):
    """Features, image size and original size, as written; `path` is a string tensor.

    A damaged file raises DataLossError, one that was cut InvalidArgumentError.
    """
    records = tf.ensure_shape(untuned(tf.data.TFRecordDataset(path).batch(2)).get_single_element(), [2])
    sizes = tf.ensure_shape(tf.io.parse_tensor(records[0], tf.int32), [2, 2])
    features = tf.ensure_shape(tf.io.parse_tensor(records[1], dtype), [None, None, None])
    return features, sizes[0], sizes[1]
