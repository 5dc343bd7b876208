"""Read a detector from a `.keras` file or a run folder."""

import os
import pathlib
import zipfile

import keras

from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN


def load_model(path: str | os.PathLike[str]) -> FasterRCNN:
    """Load the Keras model of a detector from a `.keras` file, or from a run folder that holds `model.keras`.

    Raises InputError if there is no such file, or if the file does not hold a detector of this project.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        raise InputError(path, "no such model file", "give a run folder whose training has finished or a .keras file")
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
