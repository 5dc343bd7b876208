"""Sharded record files with the schema of the TF detection tools, and a label map."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.annotations import fit_box, to_pixels
from keras_frcnn.data.sources.label_map import format_label_map
from keras_frcnn.facts.files import write_atomically

ROUNDED = "boxes with corners that are no multiples of 1/1024 of a pixel: rounded to such ones"
ROUNDED_AREA = "areas that float32 cannot hold: rounded"

_SHARD_PICTURES = 2_000  # a shard has at most this number of pictures
_SHARD_BYTES = 100 * 10**6  # and about this size, unless one picture is larger


def write(datasets: Mapping[str, Dataset], out: Path) -> Counter[str]:
    """Write each split into the folder `out` as `SPLIT-00000-of-00003.tfrecord` and so on, for `tfrecord:OUT`.

    The pictures are stored with the bytes of their files.

    Args, Returns, Raises: as in `csv_table.write`.
    """
    losses: Counter[str] = Counter()
    out.mkdir(parents=True, exist_ok=True)
    for split, dataset in datasets.items():
        shards = list(_shards(dataset.examples))
        for number, examples in enumerate(shards):
            file = out / f"{split}-{number:05d}-of-{len(shards):05d}.tfrecord"
            write_atomically(file, functools.partial(_write_shard, examples, dataset.class_names, losses))
    label_map = format_label_map(next(iter(datasets.values())).class_names)
    write_atomically(out / "label_map.pbtxt", lambda path: path.write_text(label_map, encoding="utf-8"))
    return +losses


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


def _write_shard(examples: Sequence[Example], class_names: Sequence[str], losses: Counter[str], path: Path) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(_record(example, class_names, losses).SerializeToString())


def _record(example: Example, class_names: Sequence[str], losses: Counter[str]) -> tf.train.Example:
    """The record of one picture."""
    encoded = Path(example.image_path).read_bytes()
    sides = np.array([example.height, example.width] * 2, np.float64)
    fractions = (example.boxes / sides).astype(np.float32)
    for fraction, box in zip(fractions.tolist(), example.boxes, strict=True):
        back, _ = fit_box(to_pixels(fraction, example.height, example.width), example.height, example.width)
        losses[ROUNDED] += back is None or not np.array_equal(back, box)
    features = {
        "image/height": _integers([example.height]),
        "image/width": _integers([example.width]),
        "image/filename": _texts([Path(example.image_path).name]),
        "image/source_id": _texts([example.image_id]),
        "image/key/sha256": _texts([hashlib.sha256(encoded).hexdigest()]),
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        "image/format": _texts(["png" if encoded.startswith(b"\x89PNG") else "jpeg"]),
        "image/object/class/text": _texts([class_names[number - 1] for number in example.classes]),
        "image/object/class/label": _integers(example.classes),
        "image/object/difficult": _integers(example.difficult),
    }
    for at, side in enumerate(("ymin", "xmin", "ymax", "xmax")):
        features[f"image/object/bbox/{side}"] = _floats(fractions[:, at])
    if example.crowd is not None:
        features["image/object/is_crowd"] = _integers(example.crowd)
    if example.areas is not None:
        features["image/object/area"] = _floats(example.areas)
        losses[ROUNDED_AREA] += int((example.areas.astype(np.float32) != example.areas).sum())
    return tf.train.Example(features=tf.train.Features(feature=features))


def _integers(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _texts(values: Iterable[str]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))
