"""Read a detector from a `.keras` file or a run folder, and change what it keeps or how it computes."""

import dataclasses
import os
import pathlib
import zipfile

import keras

from keras_frcnn.facts.config import DetectorConfig, TestConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.settings import check, settings_of
from keras_frcnn.network.model import FasterRCNN


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
        setting.name: check(given[setting.name], setting, f"--{setting.name.replace('_', '-')}")
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
    """Load the detector with the configuration that its file holds."""
    if not zipfile.is_zipfile(path):
        raise InputError(path, "not a .keras file", "give the model.keras of a run folder")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            path, f"not a readable model ({error})"[:300], "give the model.keras of a run folder"
        ) from error
    if not isinstance(model, FasterRCNN):
        raise InputError(
            path, f"holds a {type(model).__name__}, not a FasterRCNN", "give the model.keras of a run folder"
        )
    return model


def rebuilt(model: FasterRCNN, config: DetectorConfig, dtype: str) -> FasterRCNN:
    """The same weights with another configuration and the Keras dtype policy `dtype`, e.g. "bfloat16"."""
    if config == model.config and dtype == model.precision:
        return model
    changed = FasterRCNN(config, model.class_names, seed=model.seed, dtype=dtype)
    changed.set_weights(model.get_weights())
    return changed
