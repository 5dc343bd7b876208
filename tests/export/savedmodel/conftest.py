"""Shared by the tests of the SavedModel: a detector, its export, and how answers are compared."""

import contextlib
import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.saved_model import main
from export.shared.parity import PictureDetections, Tolerance, compare, format_parity
from export.shared.pictures import synthetic_images
from keras_frcnn.api.exports.answers import DETECTION_OUTPUTS

TOLERANCE = Tolerance(1e-3, 1e-4)


@pytest.fixture(scope="session")
def run(run_here):
    """The command line as a function of its arguments that gives the exit status."""
    return functools.partial(run_here, main)


@pytest.fixture(scope="session")
def detector(make_confident_model, tmp_path_factory):
    """(the Keras model, its file)"""
    path = tmp_path_factory.mktemp("run") / "model.keras"
    model = make_confident_model()
    model.save(path)
    return model, path


@pytest.fixture(scope="session")
def picture_files(tmp_path_factory):
    """The files of two small drawn scenes.  A comparison on large ones would take long."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(synthetic_images(2, (96, 128))):
        Image.fromarray(image).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def exported(run, detector, picture_files, tmp_path_factory):
    """(folder, what the command line printed)"""
    folder = tmp_path_factory.mktemp("served") / "detector" / "3"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run("--model", detector[1], "--out", folder, "--images", *picture_files) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="session")
def loaded(exported):
    return tf.saved_model.load(str(exported[0]))


@pytest.fixture(scope="session")
def rows():
    """A function that gives the detections of one row of a signature's outputs."""

    def of(outputs, row=0):
        count = int(outputs["num_detections"][row])
        return PictureDetections(*(np.asarray(outputs[name][row, :count]) for name in DETECTION_OUTPUTS[:3]))

    return of


@pytest.fixture(scope="session")
def assert_parity():
    """A function that compares answers with a reference of at least `least` detections: all must match."""

    def check(model, reference, answers, test=None, least=10):
        parity = compare(reference, answers, TOLERANCE, test or model.config.test)
        assert parity.detections >= least, format_parity(parity)
        assert parity.unmatched == parity.apart == 0 and parity.matched == parity.detections, format_parity(parity)

    return check
