"""The detector that is exported: its thresholds and its precision."""

from types import SimpleNamespace

import numpy as np
import pytest

from export.shared.loading import load_for_export
from export.shared.pictures import synthetic_images
from export.shared.reference import detect_with_keras
from keras_frcnn.facts.errors import InputError


@pytest.fixture(scope="module")
def saved(make_confident_model, tmp_path_factory):
    model, path = make_confident_model(), tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path


def options(path, **changes):
    return SimpleNamespace(
        **{"model": path, "score_threshold": None, "nms_iou": None, "max_detections": None, **changes}
    )


def test_options_change_the_thresholds_and_nothing_else(saved):
    model, path = saved
    changed = load_for_export(options(path, score_threshold=0.4, nms_iou=0.5, max_detections=3))
    test = changed.config.test
    assert (test.score_threshold, test.nms_iou, test.max_detections) == (0.4, 0.5, 3)
    assert (test.pre_nms_topk, changed.config.rpn, changed.class_names) == (100, model.config.rpn, model.class_names)
    for a, b in zip(changed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    (image,) = synthetic_images(1, (64, 96))
    *_, all_scores = detect_with_keras(load_for_export(options(path)), image)
    *_, scores = detect_with_keras(changed, image)
    assert len(all_scores) > len(scores) and (scores > 0.4).all() and 0 < len(scores) <= 3


def test_the_precision_of_training_is_not_that_of_the_export(make_model, tmp_path):
    make_model(seed=4, dtype="mixed_bfloat16").save(tmp_path / "model.keras")
    model = load_for_export(options(tmp_path))
    assert {variable.dtype for variable in model.variables} == {"float32"} == {model.backbone.compute_dtype}


@pytest.mark.parametrize(
    ("name", "value"),
    [("score_threshold", -0.1), ("score_threshold", 1.0), ("score_threshold", float("nan")), ("nms_iou", 1.5),
     ("nms_iou", -1.0), ("max_detections", 0)],
)  # fmt: skip
def test_numbers_out_of_range_are_named(name, value):
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(InputError, match=rf"^{option} must be .* \(got {value}\)\.$"):
        load_for_export(options("nowhere", **{name: value}))
