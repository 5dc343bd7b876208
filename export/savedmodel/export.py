"""From a trained detector to a SavedModel that answers as it does: load, cut, write, compare."""

import argparse
import logging
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from export.savedmodel.comparison import compare_with_keras, detect
from export.savedmodel.signatures import save
from export.savedmodel.warmup import write_warmup
from export.shared.average_precision import mean_average_precision, read_dataset
from export.shared.destination import check_free, check_own
from export.shared.loading import in_precision, load_for_export
from export.shared.pictures import images_to_compare
from export.shared.reference import detect_with_keras
from export.shared.running import run_export
from export.shared.svd import cut_head, wanted_ranks
from keras_frcnn.api.finding.streaming import check_count
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.tensorflow_errors import writing
from keras_frcnn.facts.config import config_to_dict
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_atomically
from keras_frcnn.network.head import Head
from keras_frcnn.network.model import FasterRCNN

_LOG = logging.getLogger(__name__)


class Comparison(NamedTuple):
    """What the written SavedModel is compared with."""

    model: FasterRCNN  # with the same cut of fc6 and fc7
    images: Sequence[np.ndarray]  # (H, W, 3) uint8 each
    precision: str
    dataset: Dataset | None
    keras_map: float | None  # of the uncut model on `dataset`; None without one


def run(options: argparse.Namespace) -> None:
    """Export as the options of `python -m export.saved_model` say.  See `run_export` for what it raises."""
    run_export(options, export)


def export(options: argparse.Namespace) -> None:
    """Write a SavedModel and compare it with the Keras model, as the options say; log the progress.

    Raises:
      InputError: an option, the model or a picture is wrong.
      ParityError: the SavedModel differs too much.  Nothing is written then, and an existing version stays.
    """
    target = _target(options)
    if options.calibrate and options.svd is None:
        raise InputError("--calibrate", "has no effect without --svd", "remove it, or add --svd")
    check_count(options.max_pixels, "--max-pixels")
    model = load_for_export(options)
    ranks = wanted_ranks(options, model.head)
    dataset = read_dataset(options, model)
    images = images_to_compare(options, model.config.image, dataset)
    weights = f"{model.count_params() / 1e6:.1f} million weights"
    _LOG.info("loaded %s: %d classes, %s", options.model, len(model.class_names), weights)
    keras_map = None
    if dataset:
        keras_map = mean_average_precision(lambda image: detect_with_keras(model, image), dataset, "Keras model")
    exported = in_precision(model, options.precision)
    head = cut_head(model, exported.head, ranks, options.calibrate) if ranks else exported.head
    settings = {
        "detector": config_to_dict(exported.config),
        "precision": options.precision,
        "svd": ranks,
        "max_pixels": options.max_pixels,
    }
    comparison = Comparison(model, images, options.precision, dataset, keras_map)

    def write(directory: pathlib.Path) -> None:
        _write(exported, head, settings, directory, served_name=target.parent.name)
        _compare(directory, comparison)

    write_atomically(target, write)
    _LOG.info("SavedModel: %s", target)


def _write(model: FasterRCNN, head: Head, settings: dict[str, Any], directory: pathlib.Path, served_name: str) -> None:
    """Write the SavedModel with its warm-up requests; `served_name` is the model's name in TensorFlow Serving."""
    with writing(directory):
        save(model, head, settings, directory, settings["max_pixels"])
        requests = write_warmup(directory, served_name)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    _LOG.info("written: %.1f MB, %d warm-up requests in it", size / 1e6, requests)


def _compare(directory: pathlib.Path, comparison: Comparison) -> None:
    """Load the SavedModel again and compare it with the Keras model.  Raises ParityError if it differs too much."""
    signatures = tf.saved_model.load(str(directory)).signatures
    _LOG.info("loaded again; comparing with the Keras model")
    compare_with_keras(comparison.model, signatures, comparison.images, comparison.precision)
    if comparison.dataset:
        name = comparison.dataset.name
        exported = mean_average_precision(lambda image: detect(signatures, image), comparison.dataset, "SavedModel")
        _LOG.info("mAP 11-point on %s: Keras model %.4f, SavedModel %.4f", name, comparison.keras_map, exported)


def _target(options: argparse.Namespace) -> pathlib.Path:
    """The version folder to write.  Raises InputError if it has another name, or must not be replaced."""
    target = pathlib.Path(options.out)
    if not (target.name.isascii() and target.name.isdigit()):
        fix = f"give {target}/1: TensorFlow Serving loads the folder with the highest number"
        raise InputError(f"--out {target}", "does not end in a version number", fix)
    if target.exists() and options.force:
        check_own(target, "saved_model.pb", "a SavedModel")
    check_free(target, options.force)
    return target
