"""A training that starts from a detector trained before, on other classes or the same ones.

What both have alike is kept.  Layers start anew whose shape, or whose outputs' meaning, is another: the last ones of an
RPN with other anchors, and of a head with other classes.
"""

import json
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from keras_frcnn.facts.config import DetectorConfig, config_from_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.vgg16 import read_archive


class TrainedDetector(NamedTuple):
    """What a finished run left."""

    layers: dict[str, tuple[np.ndarray, np.ndarray]]  # name: kernel and bias
    config: DetectorConfig
    class_names: tuple[str, ...]
    source: str  # as the user gave it


def read_detector(run_folder: str) -> TrainedDetector:
    """The detector of a finished run, read as data: no model is built.  Raises InputError where there is none."""
    path = pathlib.Path(run_folder) / "model.keras"
    mend = "give a run folder whose training has finished"
    if not path.is_file():
        raise InputError(path, "no such model file", mend)
    try:
        with zipfile.ZipFile(path) as archive:
            stored = json.loads(archive.read("config.json"))["config"]
        config, class_names = config_from_dict(stored["config"], path), tuple(stored["class_names"])
        arrays = read_archive(path)
        names = {key.removesuffix("/kernel") for key in arrays if key.endswith("/kernel")}
        layers = {name: (arrays[f"{name}/kernel"], arrays[f"{name}/bias"]) for name in sorted(names)}
    except InputError:
        raise
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(path, f"not a readable detector ({error})", mend) from error
    return TrainedDetector(layers, config, class_names, run_folder)


def new_layers(model: FasterRCNN, trained: TrainedDetector) -> dict[str, str]:
    """The names of the layers of `model` that those of `trained` do not fit, each with the reason."""
    reasons = {}
    if model.config.anchors != trained.config.anchors:
        reasons |= dict.fromkeys(("rpn_scores", "rpn_deltas"), "other anchors")
    if model.class_names != trained.class_names:
        reasons |= dict.fromkeys(("class_logits", "box_deltas"), "other classes")
    for layer in _layers(model):
        kernel, _ = trained.layers.get(layer.name, (None, None))
        if kernel is None or kernel.shape != tuple(layer.kernel.shape):
            reasons.setdefault(layer.name, "another shape")
    return reasons


def warm_start(model: FasterRCNN, trained: TrainedDetector):
    """Give `model` the layers of `trained` that fit it; its `new_layers` stay as they are."""
    new = new_layers(model, trained)
    for layer in _layers(model):
        if layer.name not in new:
            layer.set_weights(trained.layers[layer.name])


def _layers(model: FasterRCNN) -> tuple:
    """All that have weights."""
    rpn, head = model.rpn, model.head
    of_rpn, of_head = (rpn.shared, rpn.scores, rpn.box_deltas), (head.fc6, head.fc7, head.class_logits, head.box_deltas)
    return *model.backbone.convolutions, *of_rpn, *of_head
