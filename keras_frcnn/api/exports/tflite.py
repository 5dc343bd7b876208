"""A detector in a TFLite file, as `export.tflite` writes it; needs the extra `export`."""

import os
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from keras_frcnn.api.exports.answers import Ask, ExportedDetector, exported, shares
from keras_frcnn.data.pictures.images import resize_picture
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json
from keras_frcnn.network.weights.readers import open_archive


def read_tflite(path: str | os.PathLike[str]) -> ExportedDetector:
    """Read a TFLite file.  Raises InputError if it is not one of this project."""
    try:
        with open_archive(Path(path)) as files:
            names = tuple(files.read("labels.txt").decode().splitlines()[1:])  # line 0 is the background
            settings = parse_json(files.read("config.json"))
        return exported(tflite_asker(path), names, settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"is not a TFLite file of this project ({error})"[:300]
        raise InputError(path, problem, "give a file that export.tflite wrote") from error


def tflite_asker(path: str | os.PathLike[str]) -> Ask:
    """A function that asks a TFLite file; it resizes pictures to the size of the file.

    Raises OSError if the file cannot be read, and ValueError if it is not a TFLite file.
    """
    with open(path, "rb") as file:  # LiteRT takes a file that it cannot read for a damaged one
        file.read(1)
    runner = Interpreter(str(path), num_threads=os.cpu_count()).get_signature_runner()
    _, height, width, _ = runner.get_input_details()["images"]["shape"].tolist()
    return lambda picture: shares(runner(images=resize_picture(picture, (height, width)).numpy()[None]))
