"""Write a data set as sharded record files with the schema of the TF detection tools.

    SPLIT-00000-of-00003.tfrecord and so on, label_map.pbtxt

Boxes are float32 fractions of the picture's sides.  The pictures are stored with the bytes of their files.
"""

import errno
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.records.label_map import format_label_map
from keras_frcnn.data.sources.shared.annotations import fit_box
from keras_frcnn.data.sources.shared.fractions import to_pixels
from keras_frcnn.data.sources.shared.image_ids import safe_image_id
from keras_frcnn.data.writers.losses import RENAMED, Loss, Losses, count_exif
from keras_frcnn.data.writers.naming import all_class_names, safe_splits

ROUNDED = "boxes in smaller parts of a pixel: rounded to 1/1024 pixel"
THIN = "boxes thinner than 1/1024 pixel: dropped when the records are read"
AREAS = "areas that float32 cannot hold: rounded"

_SHARD_PICTURES = 2_000  # a shard has at most this number of pictures
_SHARD_BYTES = 100 * 10**6  # and about this size, unless one picture is larger


def write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]:
    """Write the splits into the empty folder `out`; see `table.py`.  The pictures are in the records."""
    losses = Losses()
    count_exif(datasets.values(), True, losses)
    class_names = all_class_names(datasets.values())
    for split, name in safe_splits(datasets).items():
        dataset = datasets[split]
        numbers = [class_names.index(each) + 1 for each in dataset.class_names]
        losses.count(RENAMED, sum(safe_image_id(example.image_id) != example.image_id for example in dataset.examples))
        shards = list(_shards(dataset.examples))
        for number, examples in enumerate(shards):
            file = out / f"{name}-{number:05d}-of-{len(shards):05d}.tfrecord"
            _write_shard(file, (_record(example, dataset.class_names, numbers, losses) for example in examples))
    (out / "label_map.pbtxt").write_text(format_label_map(class_names), encoding="utf-8")
    return losses.listed()


def _shards(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """The examples of each shard, in order."""
    shard: list[Example] = []
    size = 0
    for example in examples:
        more = Path(example.image_path).stat().st_size
        if shard and (len(shard) == _SHARD_PICTURES or size + more > _SHARD_BYTES):
            yield shard
            shard, size = [], 0
        shard.append(example)
        size += more
    if shard:
        yield shard


def _write_shard(file: Path, records: Iterable[tf.train.Example]) -> None:
    """Write a record file; raises OSError, where TensorFlow raises errors of its own."""
    try:
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in records:
                writer.write(record.SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


def _record(example: Example, class_names: Sequence[str], numbers: Sequence[int], losses: Losses) -> tf.train.Example:
    """The record of one picture; `numbers` are the ids in the label map of the split's classes."""
    encoded = Path(example.image_path).read_bytes()
    classes = [int(number) - 1 for number in example.classes]
    features = {
        "image/height": _integers([example.height]),
        "image/width": _integers([example.width]),
        "image/filename": _texts([Path(example.image_path).name]),
        "image/source_id": _texts([example.image_id]),
        "image/key/sha256": _texts([hashlib.sha256(encoded).hexdigest()]),
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "image/format": _texts(["png" if encoded.startswith(b"\x89PNG") else "jpeg"]),
        "image/object/class/text": _texts([class_names[number] for number in classes]),
        "image/object/class/label": _integers([numbers[number] for number in classes]),
        "image/object/difficult": _integers(example.difficult),
    }
    for side, values in zip(("ymin", "xmin", "ymax", "xmax"), _fractions(example, losses).T, strict=True):
        features[f"image/object/bbox/{side}"] = _floats(values)
    if example.crowd is not None:
        features["image/object/is_crowd"] = _integers(example.crowd)
    if example.areas is not None:
        features["image/object/area"] = _floats(example.areas)
        losses.count(AREAS, int((example.areas.astype(np.float32) != example.areas).sum()))
    return tf.train.Example(features=tf.train.Features(feature=features))


def _fractions(example: Example, losses: Losses) -> np.ndarray:
    """(N, 4) float32, the boxes in fractions of the sides.  Counts those that are read as others."""
    sides = np.array([example.height, example.width] * 2, np.float64)
    fractions = (example.boxes / sides).astype(np.float32)
    for fraction, box in zip(fractions.tolist(), example.boxes, strict=True):
        read, _ = fit_box(to_pixels(fraction, example.height, example.width), example.height, example.width)
        if read is None:
            losses.count(THIN)
        else:
            losses.count(ROUNDED, int((read != box).any()))
    return fractions


def _integers(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _texts(values: Iterable[str]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))
