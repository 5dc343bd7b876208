"""Tensors in files whose checksums reveal damage: TFRecord, with CRC32C."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.data.tensorflow_errors import writing
from keras_frcnn.facts.structures import Tensor


def write_tensors(path: str | Path, tensors: Iterable[Tensor]) -> None:
    """Write tensors to a file, in this order.  Raises OSError if it cannot be written."""
    with writing(path), tf.io.TFRecordWriter(str(path)) as writer:
        for tensor in tensors:
            writer.write(tf.io.serialize_tensor(tensor).numpy())


def read_tensors(path: Tensor | str, dtypes: Sequence[tf.DType]) -> list[Tensor]:
    """Read a file of `write_tensors`, inside or outside a graph; `dtypes` are those of its tensors.

    Raises:
      tf.errors.NotFoundError: there is no such file.
      tf.errors.DataLossError: the file is damaged.
      tf.errors.InvalidArgumentError: the file was cut off, or holds other tensors.
    """
    records = untuned(tf.data.TFRecordDataset(path).batch(len(dtypes) + 1)).get_single_element()
    records = tf.ensure_shape(records, [len(dtypes)])
    return [tf.io.parse_tensor(records[place], dtype) for place, dtype in enumerate(dtypes)]
