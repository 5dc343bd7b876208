"""Backbone features on disk, for the steps that leave the convolutions as they are (section 3.2, steps 3 and 4).

One file a picture, and one for its mirror image: a convolution does not commute with a flip.  They are computed by the
picture alone, so they do not depend on the batch that reads them.
"""

import functools
import hashlib
import itertools
import os
import pathlib
import shutil
import sys

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.config import config_to_dict
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pipeline import evaluation_batches
from keras_frcnn.data.stored_features import FeatureFiles, read_features, write_features
from keras_frcnn.model import FasterRCNN
from training.run_folder import read_json, write_atomically, write_json


class FeatureCache:
    """Features of one backbone at one image size, in `folder`, at most `budget` bytes.

    What another backbone, image size or type left in the folder is deleted, and said.
    """

    def __init__(self, folder, model: FasterRCNN, budget: int, dtype: str | None = None):
        self._folder, self._model, self._budget = pathlib.Path(folder), model, budget
        self.dtype = dtype or model.backbone.compute_dtype
        self._whole = set()  # files that this process wrote or checked
        key = {
            "backbone": backbone_digest(model),
            "image": config_to_dict(model.config)["image"],
            "dtype": self.dtype,
            "computed_in": model.backbone.compute_dtype,
        }
        key_path = self._folder / "key.json"
        stored = read_json(key_path) if key_path.is_file() else None
        if stored != key:
            if stored is not None:
                changed = ", ".join(sorted(name for name in key if stored.get(name) != key[name]))
                print(f"stored features are of another {changed}: deleted", file=sys.stderr)
            shutil.rmtree(self._folder, ignore_errors=True)
            write_json(key_path, key)

    def files(self, dataset: Dataset) -> FeatureFiles:
        """The files that are there and whole; the pipeline reads them instead of the pictures."""
        items = itertools.product(range(len(dataset.examples)), (False, True))
        paths = (self._path(dataset, item) for item in items)
        known = [str(path) if path in self._whole else "" for path in paths]
        return FeatureFiles(np.array(known).reshape(-1, 2), self.dtype)

    def fill(self, dataset: Dataset, items, title: str):
        """Store the features of `items`, (example index, flip or not), in that order, as far as the budget goes.

        Files that are there are checked, and made anew where they are damaged.  What is not stored is said.
        """
        wanted = {self._path(dataset, item): item for item in items}
        damaged = sum(self._check(path) for path in wanted)
        if damaged:
            print(f"{damaged} files of stored features were damaged and are made anew", file=sys.stderr)
        missing = {path: item for path, item in wanted.items() if path not in self._whole}
        problem = self._store(dataset, missing, title) if missing else None
        left = sum(path not in self._whole for path in wanted)
        if left:
            print(f"{left} of {len(wanted)} feature maps are not stored but computed at each use: {problem}")

    def _path(self, dataset: Dataset, item) -> pathlib.Path:
        index, flip = item
        return _stamped_path(self._folder, dataset.examples[index].image_path, flip)

    def _check(self, path) -> bool:
        """Take note of a file that an earlier process left; a damaged one is removed, and True is returned."""
        if path in self._whole or not path.is_file():
            return False
        try:
            read_features(str(path), tf.as_dtype(self.dtype))
        except tf.errors.OpError:
            path.unlink()
            return True
        self._whole.add(path)
        return False

    def _store(self, dataset: Dataset, missing: dict, title: str) -> str | None:
        """Compute and store; returns what stopped it, if anything."""
        used = sum(path.stat().st_size for path in self._folder.glob("*.tfrecord"))
        batches = evaluation_batches(dataset, self._model.config.image, items=missing.values())
        compute = tf.function(lambda images: tf.cast(self._model.backbone(images), self.dtype), reduce_retracing=True)
        with tqdm(total=len(missing), desc=title, unit="map", mininterval=1.0) as bar:
            for path, batch in zip(missing, batches, strict=True):
                features = compute(batch.images)[0]
                used += features.shape.num_elements() * features.dtype.size
                if used > self._budget:
                    return f"the budget of {self._budget / 2**30:.2f} GiB is used up (--feature-cache-gib)"
                write = functools.partial(
                    write_features,
                    features=features,
                    image_size=batch.image_sizes[0],
                    original_size=batch.original_sizes[0],
                )
                try:
                    write_atomically(path, write)
                except (OSError, tf.errors.OpError) as error:
                    return f"{self._folder} cannot be written ({error})"
                self._whole.add(path)
                bar.update()
        return None


def _stamped_path(folder: pathlib.Path, image_path: str, flip: bool) -> pathlib.Path:
    """The name holds the picture's size and time of change: another picture at the same place is another file."""
    status = os.stat(image_path)
    stamp = hashlib.sha256(f"{image_path}\n{status.st_size}\n{status.st_mtime_ns}".encode()).hexdigest()[:24]
    return folder / f"{stamp}.{'flipped' if flip else 'upright'}.tfrecord"


def backbone_digest(model: FasterRCNN) -> str:
    """A SHA-256 of the backbone's weights."""
    digest = hashlib.sha256()
    for variable in model.backbone.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
