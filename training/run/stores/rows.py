"""Boxes that a network found in each image of a data set, on disk: proposals (section 3.2) or detections.

Each image has one file, an (N, columns) float32 tensor.  Its first four columns are boxes, yxyx, in pixels of the image
before resizing.  Files are written atomically, so an interrupted store resumes with the first missing file.  They have
checksums, and damaged ones are computed again.  tf.data reads the files by name, so a data set need not fit in memory.
"""

import functools
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.tensor_files import read_tensors, write_tensors
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import name_that_fits, read_json, write_atomically, write_json
from keras_frcnn.facts.structures import Batch, Tensor
from training.engine.distribution import is_chief, map_images, wait_for_all
from training.engine.interruption import stop_if_asked

# Of the stored rows.  Format 1 had no number, and proposals in pixels of the resized image; 2 had no checksums.
FORMAT = 3

_log = logging.getLogger(__name__)


def row_path(directory: str | pathlib.Path, image_id: str) -> pathlib.Path:
    """The file of an image; a "/" in its id, as in VOC2007/000001, makes a folder."""
    folder, _, name = image_id.rpartition("/")
    return pathlib.Path(directory, folder, f"{name_that_fits(name)}.tfrecord")


def row_paths(directory: str | pathlib.Path, dataset: Dataset) -> list[pathlib.Path]:
    """The files of all images, in the data set's order."""
    return [row_path(directory, example.image_id) for example in dataset.examples]


def is_complete(directory: str | pathlib.Path, dataset: Dataset, only: Iterable[int] | None = None) -> bool:
    """Whether `directory` has the rows of every image of a data set, or of `only` those with these indices.

    Reads all files, and deletes damaged ones with a warning.  Raises InputError if they have another format.
    """
    path = pathlib.Path(directory) / "finished.json"
    if not path.is_file():
        return False
    try:
        stored = read_json(path)
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        found = f"format {stored['format']!r}" if isinstance(stored, dict) and "format" in stored else "no format"
        problem = f"has {found} instead of format {FORMAT}, so another version of this program wrote the boxes"
        raise InputError(f"{path}, field format", problem, f"delete {directory} to compute them again")
    damaged = [path for path in _wanted_paths(directory, dataset, only).values() if not _is_intact(path)]
    wait_for_all()  # all processes must have read before the chief deletes
    if damaged and is_chief():
        _log.warning("%s: %d damaged or missing files are computed again", directory, len(damaged))
        for each in damaged:
            each.unlink(missing_ok=True)
    wait_for_all()
    return not damaged


def _wanted_paths(
    directory: str | pathlib.Path, dataset: Dataset, only: Iterable[int] | None
) -> dict[int, pathlib.Path]:
    """The files of the images with the indices `only`, or of all, by index."""
    paths = row_paths(directory, dataset)
    return {index: paths[index] for index in (range(len(paths)) if only is None else sorted(set(only)))}


def _is_intact(path: pathlib.Path) -> bool:
    try:
        read_tensors(str(path), [tf.float32])
    except tf.errors.OpError:
        return False
    return True


def store_rows(
    directory: str | pathlib.Path,
    function: Callable[[Batch], tuple[Tensor, Tensor]],
    dataset: Dataset,
    image_config: ImageConfig,
    title: str,
    flipped: bool = False,
    only: Iterable[int] | None = None,
    **stored: Any,
) -> None:
    """Store the rows of every image that has no file yet.

    Args:
      directory: where to store them.
      function: takes a batch of one and returns rows (1, N, columns) and which of them are valid, (1, N) bool.
      dataset: the images.
      image_config: the size that they are resized to.
      title: shown at the progress bar.
      flipped: whether the images are flipped.
      only: the indices of the images to store; None: all.
      **stored: passed to `evaluation_batches`.

    Raises:
      KeyboardInterrupt: the user interrupted it; the images done so far have their files.
    """
    paths = _wanted_paths(directory, dataset, only)
    missing = [(index, flipped) for index, path in paths.items() if not path.is_file()]
    wait_for_all()  # before any process writes, so that all find the same files missing
    for (index, _), _, (rows, valid) in map_images(function, dataset, image_config, missing, title, **stored):
        write = functools.partial(write_tensors, tensors=[tf.cast(rows[0][valid[0]], tf.float32)])
        write_atomically(paths[index], write)
        stop_if_asked()
    wait_for_all()
    if is_chief():
        write_json(pathlib.Path(directory) / "finished.json", {"format": FORMAT, "images": len(paths)})
    wait_for_all()


def load_rows(directory: str | pathlib.Path, dataset: Dataset) -> list[np.ndarray]:
    """The stored rows of each image, (N, columns) float32."""
    return [read_tensors(str(path), [tf.float32])[0].numpy() for path in row_paths(directory, dataset)]
