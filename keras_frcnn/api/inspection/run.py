"""Run an inspection: read the picture, run it through the model, write the page."""

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_frcnn.api.inspection.page import write_inspection
from keras_frcnn.api.inspection.stages import Annotated, run_stages
from keras_frcnn.api.model_file import load_model
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading, read_example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import refuse_folder
from keras_frcnn.facts.options import from_options, given_options
from keras_frcnn.facts.settings import settings_of
from keras_frcnn.network.model import FasterRCNN


def run_inspection(options: argparse.Namespace) -> None:
    """Inspect a picture; `options` is the command line of `keras_frcnn.inspect`.

    Raises:
      InputError: the model or the picture cannot be read, or the page cannot be written.
    """
    refuse_folder(options.out, "give the name of a file with --out")
    model = load_model(options.model)
    pixels, annotated = _read(options, model)
    stages = run_stages(model, pixels, annotated)
    path = Path(options.out)
    try:
        write_inspection(path, (options.picture, options.model), pixels, stages, model.config, model.class_names)
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "use a folder that you can write to") from error
    print(f"Page: {path}")


def _read(options: argparse.Namespace, model: FasterRCNN) -> tuple[np.ndarray, Annotated | None]:
    """The pixels of the picture, and its objects if it is one of a data set."""
    if options.data is None:
        settings = [one for one in settings_of(DataSpec) if one.key != "data"]
        given = given_options(options, settings)
        unused = sorted(one.option for one in settings if one.key in given.keys() - {"max_pixels"})
        if unused:
            raise InputError(unused[0], "has no effect without --data", "leave it out")
        return to_pixels(options.picture, Reading(model.config.image.applies_exif, **given)), None
    if "class_names" in vars(options):
        raise InputError("--class-names", "has no effect: the classes are those of the model", "leave it out")
    spec = dataclasses.replace(from_options(DataSpec, options), class_names=model.class_names)
    dataset = load_dataset(spec, options.split, model.config.image.exif_of_model)
    path = os.path.abspath(options.picture)
    for example in dataset.examples:
        if options.picture == example.image_id or path == os.path.abspath(example.image_path):
            return read_example(example), Annotated(example.boxes, example.classes, example.difficult)
    raise InputError(
        options.picture, f"is not a picture of {dataset.name}", "give the id or file of one of its pictures"
    )
