"""The detector that is exported: loaded from its file, with other thresholds, and in another precision."""

import argparse
import dataclasses
from typing import Any

from keras_frcnn.api.model_file import load_model
from keras_frcnn.facts.config import DetectorConfig, TestConfig
from keras_frcnn.facts.settings import check, settings_of
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


def _test_changes(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TestConfig` that `options` change.  Raises SettingError for a number out of its range."""
    return {
        setting.name: check(value, setting, f"--{setting.name.replace('_', '-')}")
        for setting in settings_of(TestConfig)
        if (value := getattr(options, setting.name, None)) is not None
    }
