"""The answers of a TFLite file against those of the Keras model."""

import contextlib
import logging
import types

import numpy as np
import pytest

from export.litemodel import comparison
from export.litemodel.comparison import (
    TOLERANCES,
    Measured,
    compare_with_keras,
    keras_detector,
    measure,
    tflite_detector,
)
from export.shared.options import QUANTIZATIONS
from export.shared.parity import ParityError, check, compare

SIZE = (64, 96)


def test_each_quantisation_has_a_tolerance():
    assert tuple(TOLERANCES) == QUANTIZATIONS


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_detections_are_those_of_the_keras_model(contents, model, pictures, quantization, tmp_path):
    path = tmp_path / "detector.tflite"
    path.write_bytes(contents[quantization])
    ours, theirs = keras_detector(model, SIZE), tflite_detector(path)
    reference, answers = [ours(picture) for picture in pictures], [theirs(picture) for picture in pictures]
    tolerance = TOLERANCES[quantization]
    parity = compare(reference, answers, tolerance, model.config.test)
    assert parity.detections > 40
    check(parity, tolerance)
    if quantization == "none":
        assert parity.box_difference < 1e-5 and parity.score_difference < 1e-5
        for (_, our_classes, _), (_, their_classes, _) in zip(reference, answers, strict=True):
            np.testing.assert_array_equal(their_classes, our_classes)
    for boxes, classes, scores in answers:
        assert np.all((boxes >= 0) & (boxes <= 1 + 1e-6)) and set(classes) <= {1, 2, 3}
        assert np.all(np.diff(scores) <= 0) and np.all(scores > model.config.test.score_threshold)


@pytest.mark.parametrize(
    ("after", "refused"), [(0.85, True), (0.879, True), (0.881, False), (0.95, False), (np.nan, True)]
)
def test_a_loss_of_map_is_refused(exported, model, pictures, monkeypatch, caplog, after, refused):
    monkeypatch.setattr(comparison, "mean_average_precision", lambda detect, dataset, title: after)
    caplog.set_level(logging.INFO, "export")
    measured = Measured(types.SimpleNamespace(name="cells"), 0.9)
    with pytest.raises(ParityError, match="mAP falls by") if refused else contextlib.nullcontext():
        compare_with_keras(exported, model, SIZE, "float16", pictures[:1], measured)
    assert caplog.messages[1] == f"mAP on cells at this size: 0.9000 of the Keras model, {after:.4f} of the file"


def test_without_objects_there_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr(comparison, "mean_average_precision", lambda detect, dataset, title: np.nan)
    with pytest.raises(ParityError, match="cells has no objects, so there is no mAP to compare; give another --split"):
        measure(None, types.SimpleNamespace(name="cells"), "Keras")
