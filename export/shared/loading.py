"""The detector that is exported: loaded from its file, with other thresholds, and in another precision."""

import argparse
import dataclasses
import math

from keras_frcnn.api.model_file import load_model
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN


def load_for_export(options: argparse.Namespace) -> FasterRCNN:
    """Load the detector `options.model` in float32, whatever precision it was trained in.

    `options.score_threshold`, `options.nms_iou` and `options.max_detections` replace those of the model unless they are
    None.  Raises InputError if there is no such model, or if one of these numbers is out of range.
    """
    changes = _test_changes(options)
    model = load_model(options.model)
    config = dataclasses.replace(model.config, test=dataclasses.replace(model.config.test, **changes))
    return _rebuilt(model, config, "float32")


def in_precision(model: FasterRCNN, dtype: str) -> FasterRCNN:
    """The same detector with weights and layers in the Keras dtype policy `dtype`, e.g. "bfloat16"."""
    return _rebuilt(model, model.config, dtype)


def _rebuilt(model: FasterRCNN, config: DetectorConfig, dtype: str) -> FasterRCNN:
    if config == model.config and dtype == model.precision:
        return model
    rebuilt = FasterRCNN(config, model.class_names, seed=model.seed, dtype=dtype)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _test_changes(options: argparse.Namespace) -> dict[str, float]:
    """The fields of `TestConfig` that `options` change.  Raises InputError for a number out of its range."""
    in_range = {
        "score_threshold": (lambda value: 0 <= value < 1, "give a number from 0 to below 1"),
        "nms_iou": (lambda value: 0 <= value <= 1, "give a number from 0 to 1"),
        "max_detections": (lambda value: value >= 1, "give a whole number of at least 1"),
    }
    changes = {name: getattr(options, name) for name in in_range if getattr(options, name) is not None}
    for name, value in changes.items():
        fits, fix = in_range[name]
        if not (math.isfinite(value) and fits(value)):
            raise InputError(f"--{name.replace('_', '-')}", f"{value} is out of range", fix)
    return changes
