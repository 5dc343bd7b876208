"""A detector in a SavedModel, as `export.saved_model` writes it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS, ExportedDetector, Shares, exported, shares
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json

Signature = Callable[..., Mapping[str, tf.Tensor]]


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a folder with a SavedModel."""
    return (Path(path) / "saved_model.pb").is_file()


def read_saved_model(path: str | os.PathLike[str]) -> ExportedDetector:
    """Read a SavedModel.  Raises InputError if it is not one of this project."""
    assets = Path(path) / "assets"
    try:
        labels = read_json(assets / "labels.json")
        settings = read_json(assets / "config.json")
        names = tuple(labels[str(number)] for number in range(1, len(labels) + 1))
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        return exported(lambda picture: ask_signature(signature, picture), names, settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        problem = f"is not a SavedModel of this project ({error})"[:300]
        raise InputError(path, problem, "give a folder that export.saved_model wrote") from error


def ask_signature(signature: Signature, picture: np.ndarray) -> Shares:
    """What the signature `serving_default` finds in one picture, (H, W, 3) uint8 RGB."""
    outputs = signature(images=tf.constant(picture[None]))
    return shares({name: outputs[name].numpy() for name in DETECTION_OUTPUTS})
