"""Backbone features on disk, for steps that do not change the convolutions (section 3.2, steps 3 and 4).

Each image has a file, and its mirror image another one: a convolution does not commute with a flip.  Features are
computed from one image at a time, so they do not depend on the batch that reads them.
"""

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures.images import DECODING, resized_size
from keras_frcnn.data.stream.stored_features import FeatureFiles, read_features, write_features
from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.files import PARTIAL, read_json, write_atomically, write_json
from keras_frcnn.facts.structures import Batch, Tensor
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import Item, is_chief, map_images, wait_for_all
from training.engine.interruption import stop_if_asked

RECORD_BYTES = 128  # bytes of a file in addition to the features
_log = logging.getLogger(__name__)
_KEY = "key.json"
_OWN_FILE = re.compile(
    rf"(\.{re.escape(PARTIAL)}\d+(\.old)?\.)?({re.escape(_KEY)}|[0-9a-f]{{24}}\.(upright|flipped)\.tfrecord)"
)


class FeatureCache:
    """Features of one backbone at one image size, in `folder`, at most `budget` bytes.

    Stored features of another backbone, image size, number format or decoding are deleted with a warning.  Other files
    in the folder are left alone.
    """

    def __init__(self, folder: str | pathlib.Path, model: FasterRCNN, budget: int, dtype: str | None = None):
        """`dtype` is the number format of the stored features; without it, they are stored as computed."""
        self._folder, self._model, self._budget = pathlib.Path(folder), model, budget
        self.dtype = dtype or model.backbone.compute_dtype
        self._whole: set[pathlib.Path] = set()  # files that this process wrote or checked
        key = {
            "backbone": backbone_digest(model),
            "image": config_to_dict(model.config)["image"],
            "decoding": DECODING,
            "dtype": self.dtype,
            "computed_in": model.backbone.compute_dtype,
        }
        self._delete_others(key)

    def _delete_others(self, key: dict) -> None:
        """Delete stored features that were not computed with `key`."""
        key_path = self._folder / _KEY
        stored = _read_key(key_path)
        wait_for_all()
        if stored != key and is_chief():
            if stored is not None:
                changed = ", ".join(sorted(name for name in key if stored.get(name) != key[name]))
                _log.warning("%s: deleted stored features, which were computed with another %s", key_path, changed)
            elif _own_files(self._folder):
                _log.warning("%s is missing or damaged: the stored features are deleted and computed again", key_path)
            delete_features(self._folder)
            write_json(key_path, key)
        wait_for_all()

    def files(self, dataset: Dataset) -> FeatureFiles:
        """The complete files of a data set; the pipeline reads them instead of the images."""
        items = itertools.product(range(len(dataset.examples)), (False, True))
        paths = (self._path(dataset, item) for item in items)
        known = [str(path) if path in self._whole else "" for path in paths]
        return FeatureFiles(np.array(known).reshape(-1, 2), self.dtype)

    def fill(self, dataset: Dataset, items: Iterable[Item], title: str) -> None:
        """Store the features of `items`, in that order, until the budget is used up.

        Existing files are checked, and damaged ones are computed again.  Logs how many features are not stored.
        """
        wanted = {self._path(dataset, item): item for item in items}
        damaged = sum(self._check(path) for path in wanted)
        if damaged:
            _log.warning("%d damaged files of stored features are computed again", damaged)
        missing = {item: path for path, item in wanted.items() if path not in self._whole}
        affordable = self._affordable(dataset, missing)
        wait_for_all()  # before any process writes, so that all find the same files missing
        problem = self._store(dataset, affordable, missing, title)
        wait_for_all()
        for path in missing.values():  # what other processes stored
            self._check(path)
        left = sum(path not in self._whole for path in wanted)
        if left and is_chief():
            problem = problem or f"the budget of {self._budget / 2**30:.2f} GiB is used up (--feature-cache-gib)"
            _log.info("%d of %d feature maps are not stored but computed at each use: %s", left, len(wanted), problem)

    def _affordable(self, dataset: Dataset, items: Iterable[Item]) -> list[Item]:
        """The first of `items`, as many as fit in the budget."""
        image, channels = self._model.config.image, self._model.backbone.convolutions[-1].filters
        room = self._budget - sum(path.stat().st_size for path in self._folder.glob("*.tfrecord"))
        affordable = []
        for index, flip in items:
            example = dataset.examples[index]
            size = resized_size((example.height, example.width), image.short_side, image.long_side)
            cells = int(tf.reduce_prod(size // STRIDE))
            room -= cells * channels * tf.as_dtype(self.dtype).size + RECORD_BYTES
            if room < 0:
                break
            affordable.append((index, flip))
        return affordable

    def _path(self, dataset: Dataset, item: Item) -> pathlib.Path:
        index, flip = item
        return _stamped_path(self._folder, dataset.examples[index], flip)

    def _check(self, path: pathlib.Path) -> bool:
        """Check a file that another process wrote.  Deletes a damaged file and returns True."""
        if path in self._whole or not path.is_file():
            return False
        try:
            read_features(str(path), tf.as_dtype(self.dtype))
        except tf.errors.OpError:
            path.unlink(missing_ok=True)
            return True
        self._whole.add(path)
        return False

    def _store(self, dataset: Dataset, items: list[Item], paths: Mapping[Item, pathlib.Path], title: str) -> str | None:
        """Compute and store the features of `items`; returns why they could not be written, or None."""

        def compute(batch: Batch) -> Tensor:
            return tf.cast(self._model.backbone(batch.images), self.dtype)

        problem = None
        for item, batch, features in map_images(compute, dataset, self._model.config.image, items, title):
            stop_if_asked()
            if problem is not None:
                continue  # other processes may be able to write, and all must compute the same number of images
            write = functools.partial(
                write_features,
                features=features[0],
                image_size=batch.image_sizes[0],
                original_size=batch.original_sizes[0],
            )
            try:
                write_atomically(paths[item], write)
                self._whole.add(paths[item])
            except OSError as error:
                problem = f"{self._folder} cannot be written ({error})"
        return problem


def delete_features(folder: str | pathlib.Path) -> None:
    """Delete the files that `FeatureCache` wrote to `folder`, and the folder if nothing else is in it."""
    folder = pathlib.Path(folder)
    for path in _own_files(folder):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds other files, or does not exist
        folder.rmdir()


def _own_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files of features and their key, half-written ones included."""
    return [path for path in folder.glob("*") if _OWN_FILE.fullmatch(path.name)]


def _read_key(path: pathlib.Path) -> dict | None:
    """What the stored features were computed with; None if the file is missing or damaged."""
    try:
        key = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return key if isinstance(key, dict) else None


def _stamped_path(folder: pathlib.Path, example: Example, flip: bool) -> pathlib.Path:
    """The file of an image's features.

    Its name depends on the path, size and time of the image file and on the orientation that is applied, so a changed
    image has another file.
    """
    status = os.stat(example.image_path)
    facts = f"{example.image_path}\n{status.st_size}\n{status.st_mtime_ns}\n{example.orientation}"
    stamp = hashlib.sha256(facts.encode()).hexdigest()[:24]
    return folder / f"{stamp}.{'flipped' if flip else 'upright'}.tfrecord"


def backbone_digest(model: FasterRCNN) -> str:
    """A SHA-256 of the backbone's weights."""
    digest = hashlib.sha256()
    for variable in model.backbone.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def stored_features(
    cache: FeatureCache | None, dataset: Dataset, items: Iterable[Item], title: str
) -> FeatureFiles | None:
    """Store the features of `items` and return the files; None without a cache."""
    if cache is None:
        return None
    cache.fill(dataset, items, title)
    return cache.files(dataset)
