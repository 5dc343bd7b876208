"""What a network says of each picture, on disk: proposals (section 3.2) and detections.

Each picture has one file, a serialised (N, columns) float32 tensor.  Its first four columns are boxes, yxyx, in pixels
of the stored picture.  Files are written atomically, so an interrupted store resumes with the first missing file.  tf.data
reads the files by name, so a data set need not fit in memory.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.files import write_atomically, write_json
from training.engine.distribution import is_chief, map_pictures, wait_for_all


def row_path(directory, image_id: str) -> pathlib.Path:
    """Where the rows of a picture are; a year in its id becomes a folder."""
    return pathlib.Path(directory) / f"{image_id}.tensor"


def row_paths(directory, dataset: Dataset) -> list[pathlib.Path]:
    """One path an example, in the data set's order."""
    return [row_path(directory, example.image_id) for example in dataset.examples]


def is_complete(directory) -> bool:
    """Whether the rows of every picture are in `directory`."""
    return _finished(directory).is_file()


def _finished(directory) -> pathlib.Path:
    return pathlib.Path(directory) / "finished.json"


def store_rows(directory, function, dataset: Dataset, image_config: ImageConfig, title: str, **stored):
    """Store the valid rows of `function(batch)`, (1, N, columns) and which are valid (1, N), of every picture.

    Pictures that have their file are left out.  `stored` goes to `evaluation_batches`.
    """
    paths = row_paths(directory, dataset)
    missing = [(index, False) for index, path in enumerate(paths) if not path.is_file()]
    wait_for_all()  # before any process writes: all must find the same ones missing
    for (index, _), _, (rows, valid) in map_pictures(function, dataset, image_config, missing, title, **stored):
        encoded = tf.io.serialize_tensor(tf.cast(rows[0][valid[0]], tf.float32)).numpy()
        write_atomically(paths[index], functools.partial(pathlib.Path.write_bytes, data=encoded))
    wait_for_all()
    if is_chief():
        write_json(_finished(directory), {"images": len(dataset.examples)})
    wait_for_all()


def load_rows(directory, dataset: Dataset) -> list[np.ndarray]:
    """The stored (N, columns) rows of each example."""
    return [tf.io.parse_tensor(path.read_bytes(), tf.float32).numpy() for path in row_paths(directory, dataset)]
