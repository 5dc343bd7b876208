"""A detector that starts from the detector of a finished run, with the same or different classes.

A layer keeps its trained weights if its shape and the meaning of its outputs are the same.  The other layers keep the
new model's initial weights: the last layers of the RPN if the anchors differ, those of the head if the classes differ.
"""

import pathlib
from typing import NamedTuple

import keras

from keras_frcnn.facts.config import DetectorConfig, config_from_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.readers import open_archive, read_arrays
from keras_frcnn.network.weights.vgg16 import Layers


class TrainedDetector(NamedTuple):
    """The detector of a finished run."""

    layers: Layers
    config: DetectorConfig
    class_names: tuple[str, ...]  # without background
    source: str  # as the user wrote it


def read_detector(run_folder: str) -> TrainedDetector:
    """Read the `model.keras` of a finished run as data, without building a model.

    Raises:
        InputError: The file is missing, or is not a detector of this project.
    """
    path = pathlib.Path(run_folder) / "model.keras"
    fix = "use a run folder whose training has finished"
    if not path.is_file():
        raise InputError(path, "no such model file", fix)
    try:
        with open_archive(path) as archive:
            stored = parse_json(archive.read("config.json"))["config"]
        config, class_names = config_from_dict(stored["config"], str(path)), tuple(stored["class_names"])
        arrays = read_arrays(path)
        names = {key.removesuffix("/kernel") for key in arrays if key.endswith("/kernel")}
        layers = {name: (arrays[f"{name}/kernel"], arrays[f"{name}/bias"]) for name in sorted(names)}
    except InputError:
        raise
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(path, f"not a readable detector ({error})", fix) from error
    return TrainedDetector(layers, config, class_names, run_folder)


def new_layers(model: FasterRCNN, trained: TrainedDetector) -> dict[str, str]:
    """Return the names of the layers of `model` that cannot use the weights of `trained`, each with the reason."""
    reasons: dict[str, str] = {}
    if model.config.anchors != trained.config.anchors:
        reasons |= dict.fromkeys(("rpn_scores", "rpn_deltas"), "other anchors")
    if model.class_names != trained.class_names:
        reasons |= dict.fromkeys(("class_logits", "box_deltas"), "other classes")
    for layer in _layers(model):
        shapes = [values.shape for values in trained.layers.get(layer.name, ())]
        if shapes != [tuple(layer.kernel.shape), tuple(layer.bias.shape)]:
            reasons.setdefault(layer.name, "another shape")
    return reasons


def warm_start(model: FasterRCNN, trained: TrainedDetector) -> None:
    """Copy the weights of `trained` into `model`, except for the layers that `new_layers` names."""
    new = new_layers(model, trained)
    for layer in _layers(model):
        if layer.name not in new:
            layer.set_weights(trained.layers[layer.name])


def _layers(model: FasterRCNN) -> tuple[keras.layers.Layer, ...]:
    """Return every layer of the model that has weights."""
    rpn, head = model.rpn, model.head
    of_rpn, of_head = (rpn.shared, rpn.scores, rpn.box_deltas), (head.fc6, head.fc7, head.class_logits, head.box_deltas)
    return *model.backbone.convolutions, *of_rpn, *of_head
