"""The model that a command names: a trained detector, or one that was exported."""

import hashlib
import os
from pathlib import Path

from keras_frcnn.api.detector import load
from keras_frcnn.api.exports.saved_model import is_saved_model, read_saved_model
from keras_frcnn.api.finding.streaming import Finder
from keras_frcnn.api.model_file import model_file
from keras_frcnn.facts.errors import InputError


def load_finder(path: str | os.PathLike[str]) -> Finder:
    """Load a run folder, a `.keras` file, the folder of a SavedModel, or a `.tflite` file.  Raises InputError."""
    if is_saved_model(path):
        return read_saved_model(path)
    if not _is_tflite(path):
        return load(path)
    try:
        from keras_frcnn.api.exports.tflite import read_tflite  # its package is not needed for other models
    except ModuleNotFoundError as error:
        fix = "pip install 'keras-frcnn[export]'"
        raise InputError(path, "the package ai-edge-litert, which runs TFLite files, is not installed", fix) from error
    return read_tflite(path)


def digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of the model's file, or of all files of a SavedModel.  Raises InputError if there is none."""
    if is_saved_model(path):
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    else:
        files = [Path(path) if _is_tflite(path) else model_file(path)]
    whole = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()


def _is_tflite(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix == ".tflite" and Path(path).is_file()
