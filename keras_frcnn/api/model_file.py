"""Read a detector from a `.keras` file or a run folder, and change what it keeps or how it computes."""

import dataclasses
import os
import pathlib
import zipfile
from typing import Any

from keras_frcnn.facts.config import DetectorConfig, TestConfig, config_from_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json
from keras_frcnn.facts.settings import check, settings_of
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.readers import open_archive

_FIX = "give the model.keras of a run folder"


def load_model(
    path: str | os.PathLike[str],
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
) -> FasterRCNN:
    """Load the Keras model of a detector from a `.keras` file, or from a run folder that holds `model.keras`.

    The three numbers replace those of the model's `TestConfig`, unless they are None.

    Raises InputError if there is no such file, or if the file does not hold a detector of this project; SettingError,
    which names the option, for a number out of its range.
    """
    given = {"score_threshold": score_threshold, "nms_iou": nms_iou, "max_detections": max_detections}
    changes = {
        setting.name: check(given[setting.name], setting, setting.option)
        for setting in settings_of(TestConfig)
        if given.get(setting.name) is not None
    }
    model = _read(model_file(path))
    test = dataclasses.replace(model.config.test, **changes)
    return rebuilt(model, dataclasses.replace(model.config, test=test), model.precision)


def model_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """The `.keras` file of a detector; `path` is that file or a run folder.  Raises InputError if there is none."""
    path = pathlib.Path(path)
    path = path / "model.keras" if path.is_dir() else path
    if not path.is_file():
        raise InputError(path, "no such model file", "give a run folder whose training has finished or a .keras file")
    return path


def _read(path: pathlib.Path) -> FasterRCNN:
    """Load the detector with the configuration that its file holds.

    This does not call `keras.saving.load_model`, which imports and calls what the file names.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(path, "not a .keras file", _FIX)
    try:
        with open_archive(path) as archive:
            stored = parse_json(archive.read("config.json"))
            name = stored["class_name"]
            if name == FasterRCNN.__name__:
                _check_fields(stored["config"], path)
                model = FasterRCNN.from_config(stored["config"])
                model.load_weights(path)
                return model
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        problem = f"not a readable model ({str(error) or type(error).__name__})"
        raise InputError(path, problem[:300], _FIX) from error
    raise InputError(path, f"holds a {name}, not a FasterRCNN"[:300], _FIX)


def _check_fields(fields: dict[str, Any], path: pathlib.Path) -> None:
    """Check what a file says about its model, before the model is built from it.

    Raises InputError for a configuration that is not one, TypeError for another field of another type, and ValueError
    if the model would take memory for far more weights than the file can have.
    """
    config = config_from_dict(fields["config"], str(path))
    names = fields["class_names"]
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError("class_names is not a list of strings")
    if type(fields["seed"]) is not int or not isinstance(fields["dtype"], str) or not isinstance(fields["name"], str):
        raise TypeError("seed, dtype or name is of another type")
    units = config.head.fc_units
    weights = 512 * (config.head.pool_size**2 * units + 9 * config.rpn.channels) + units * (units + 5 * len(names))
    if weights > path.stat().st_size:
        raise ValueError(f"its configuration has {weights} weights, for which the file is too small")


def rebuilt(model: FasterRCNN, config: DetectorConfig, dtype: str) -> FasterRCNN:
    """The same weights with another configuration and the Keras dtype policy `dtype`, e.g. "bfloat16"."""
    if config == model.config and dtype == model.precision:
        return model
    changed = FasterRCNN(config, model.class_names, seed=model.seed, dtype=dtype)
    changed.set_weights(model.get_weights())
    return changed
