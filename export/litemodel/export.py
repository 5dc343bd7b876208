"""From a trained detector to a TFLite file that answers as it does: convert, quantise, write, compare."""

import argparse
import logging
import pathlib
import re

from export.litemodel.comparison import compare_with_keras, keras_detector, measure
from export.litemodel.flatbuffer import describe_operators
from export.litemodel.graph import convert
from export.litemodel.metadata import add_files, check_labels, with_metadata
from export.litemodel.quantisation import quantize
from export.shared.average_precision import read_dataset
from export.shared.destination import check_free
from export.shared.loading import load_for_export
from export.shared.pictures import given_images, images_to_compare
from export.shared.running import run_export
from export.shared.svd import cut_head, wanted_ranks
from keras_frcnn.data.pictures.images import LEAST_SIDE, resize_picture
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import refuse_folder, write_atomically
from keras_frcnn.facts.limits import MOST_INPUT_PIXELS

_LOG = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """Export as the options of `python -m export.tflite` say.  See `run_export` for what it raises."""
    run_export(options, export)


def export(options: argparse.Namespace) -> None:
    """Write the file and log where it is.  See `write_file` for what it raises."""
    path = write_file(options)
    _LOG.info("written to %s: %.1f MiB", path, path.stat().st_size / 2**20)


def write_file(options: argparse.Namespace) -> pathlib.Path:
    """Write a TFLite file and compare it with the Keras model, as the options say; log the progress.

    Returns:
      The path of the file.

    Raises:
      InputError: an option, the model or a picture is wrong.
      ParityError: the file differs too much.  It is not written then, and an existing file stays.
    """
    size = parse_size(options.size)
    path = check_out(options)
    check_pictures(options)
    model = load_for_export(options)
    check_labels(model.class_names)
    ranks = wanted_ranks(options, model.head)
    measured_on = options.calibrate if options.quantize == "int8" else ()
    calibration = [resize_picture(image, size).numpy() for image in given_images(measured_on, model.config.image)]
    dataset = read_dataset(options, model)
    images = images_to_compare(options, model.config.image, dataset)
    measured = None if dataset is None else measure(keras_detector(model, size), dataset, "Keras")

    head = cut_head(model, model.head, ranks, options.calibrate) if ranks else model.head
    content = convert(model, size, head)
    _LOG.info("converted: %.1f MiB, %s", len(content) / 2**20, describe_operators(content))
    if options.quantize != "none":
        content = quantize(content, options.quantize, calibration)
        on = f" on {len(calibration)} pictures" if calibration else ""
        _LOG.info("quantised to %s%s: %.1f MiB", options.quantize, on, len(content) / 2**20)
    content = with_metadata(content, size)

    def write(temporary: pathlib.Path) -> None:
        temporary.write_bytes(content)
        add_files(temporary, model.class_names, model.config, size, options.quantize, ranks)
        compare_with_keras(temporary, model, size, options.quantize, images, measured)

    write_atomically(path, write)
    return path


def parse_size(text: str) -> tuple[int, int]:
    """The height and width of "HxW".  Raises InputError for another text, or for sides that are too small."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text, re.ASCII)
    if match is None:
        raise InputError("--size", f"{text!r} is not a size", "give height and width in pixels, e.g. 480x640")
    size = int(match[1]), int(match[2])
    if min(size) < LEAST_SIDE:
        problem = f"{text} is too small: the feature map would be empty"
        raise InputError("--size", problem, f"give sides of at least {LEAST_SIDE} pixels")
    if size[0] * size[1] > MOST_INPUT_PIXELS:
        problem = f"{text} is too large: more than {MOST_INPUT_PIXELS} pixels"
        raise InputError("--size", problem, "give the size of pictures in training, e.g. 480x640")
    return size


def check_out(options: argparse.Namespace) -> pathlib.Path:
    """The file to write.  Raises InputError if it is a folder, or if it must not be replaced."""
    path = pathlib.Path(options.out)
    refuse_folder(path, "give the name of a file with --out")
    check_free(path, options.force)
    return path


def check_pictures(options: argparse.Namespace) -> None:
    """Raise InputError if pictures are missing that the options need, or if there are some that nothing uses."""
    if options.quantize == "int8" and not options.calibrate:
        fix = "give some dozens of real pictures: int8 measures the ranges of activations on them"
        raise InputError("--calibrate", "is missing", fix)
    if options.quantize != "int8" and options.svd is None and options.calibrate:
        problem = f"has no effect with --quantize {options.quantize}"
        raise InputError("--calibrate", problem, "remove it, or choose --quantize int8 or --svd")
    if options.quantize == "dynamic" and not (options.images or options.calibrate or options.data):
        # On drawn scenes, a detector of something else finds little but noise, which quantisation changes much.
        fix = "give some pictures like those of the training: the quantised file is compared on them"
        raise InputError("--images", "is missing", fix)
