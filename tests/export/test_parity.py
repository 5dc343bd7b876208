"""The gate: matching by hand, what is forgiven and what never is, and what the Keras model answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from export.shared.options import load_for_export
from export.shared.parity import (
    Parity,
    ParityError,
    Tolerance,
    check,
    compare,
    detect_with_keras,
    format_parity,
    given_images,
    mean_average_precision,
    reference_detections,
    reference_proposals,
    synthetic_images,
)
from keras_frcnn.facts.config import TestConfig
from keras_frcnn.data.sources.table import load_dataset
from keras_frcnn.api.pictures import detect_pixels
from keras_frcnn.facts.errors import InputError

STRICT = Tolerance(box=1e-3, score=1e-2)
TEST = TestConfig(score_threshold=0.05, max_detections=10)
LEFT, RIGHT = (0.1, 0.0, 0.5, 0.4), (0.1, 0.6, 0.5, 1.0)


def found(*rows):
    """Detections of one picture from (box, class, score)."""
    boxes, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return np.reshape(np.float32(boxes), (-1, 4)), np.float32(classes), np.float32(scores)


BOTH = found((LEFT, 1, 0.9), (RIGHT, 2, 0.8))


def difference(ours, theirs, tolerance=STRICT, test=TEST):
    return compare([ours], [theirs], tolerance, test)


def test_a_model_is_at_no_distance_from_itself():
    assert difference(BOTH, BOTH) == Parity(1, 2, 2, 0, 0, 0.0, 0.0)


def test_differences_by_hand():
    moved = found(((0.1, 0.6, 0.5, 0.98), 2, 0.81), ((0.1, 0.005, 0.5, 0.4), 1, 0.88))  # in another order
    parity = difference(BOTH, moved)
    assert parity[:4] == (1, 2, 2, 0)
    assert parity.box_difference == pytest.approx(0.02, abs=1e-6)
    assert parity.score_difference == pytest.approx(0.02, abs=1e-6)
    assert parity.apart == 2
    assert difference(BOTH, moved, Tolerance(0.01, 0.03)).apart == 1  # LEFT is within 0.005 and 0.02
    assert difference(BOTH, moved, Tolerance(0.03, 0.015)).apart == 1  # RIGHT is within 0.02 and 0.01


def test_pictures_are_summed_and_the_worst_counts():
    far = found((LEFT, 1, 0.7))
    parity = compare([BOTH, BOTH, found()], [BOTH, far, found()], STRICT, TEST)
    assert parity[:5] == (3, 4, 3, 1, 1) and parity.score_difference == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        found((LEFT, 2, 0.9), (RIGHT, 2, 0.8)),  # another class
        found(((0.1, 0.3, 0.5, 0.7), 1, 0.9), (RIGHT, 2, 0.8)),  # IoU with LEFT is 0.1 / 0.7
        found((LEFT, 1, 0.9), ((0.1, np.nan, 0.5, 1.0), 2, 0.8)),
    ],
)
def test_one_that_is_another_leaves_two_without_a_partner(other):
    assert difference(BOTH, other).unmatched == difference(other, BOTH).unmatched == 2


def test_partners_are_one_to_one():
    twice = found((LEFT, 1, 0.9), (LEFT, 1, 0.9))
    once = found((LEFT, 1, 0.9))
    assert difference(once, twice)[2:4] == difference(twice, once)[2:4] == (1, 1)


def test_equal_boxes_are_told_by_their_scores():
    ours, theirs = (found((LEFT, 1, a), (LEFT, 1, b)) for a, b in ((0.9, 0.6), (0.6, 0.9)))
    assert difference(ours, theirs) == Parity(1, 2, 2, 0, 0, 0.0, 0.0)


def test_the_better_overlap_is_taken_first():
    ours = found(((0.0, 0.0, 0.5, 0.5), 1, 0.5))
    theirs = found(((0.0, 0.0, 0.5, 0.4), 1, 0.5), ((0.0, 0.0, 0.5, 0.49), 1, 0.5))
    assert difference(ours, theirs).box_difference == pytest.approx(0.01, abs=1e-6)


def test_what_rounding_may_push_under_the_threshold_is_forgiven():
    for score, unmatched in ((0.0505, 0), (0.0599, 0), (0.0605, 1)):  # the threshold is 0.05, the tolerance 0.01
        more = found((LEFT, 1, 0.9), (RIGHT, 2, score))
        one = found((LEFT, 1, 0.9))
        assert difference(more, one).unmatched == difference(one, more).unmatched == unmatched


def test_the_last_of_full_rows_is_forgiven_where_the_other_side_is_full():
    test = TestConfig(score_threshold=0.05, max_detections=2)
    other_last = found((LEFT, 1, 0.9), ((0.6, 0.0, 0.9, 0.4), 2, 0.805))
    assert difference(BOTH, other_last, test=test).unmatched == 0
    better = found((LEFT, 1, 0.9), ((0.6, 0.0, 0.9, 0.4), 2, 0.85))  # over BOTH's last by more than the tolerance
    assert difference(BOTH, better, test=test).unmatched == 1
    not_full = found((LEFT, 1, 0.9))
    assert difference(BOTH, not_full, test=test).unmatched == 1
    assert difference(BOTH, other_last).unmatched == 2  # 10 rows are not full


def test_a_score_that_is_no_number_is_never_forgiven():
    more = found((LEFT, 1, 0.9), (RIGHT, 2, np.nan))
    assert difference(found((LEFT, 1, 0.9)), more).unmatched == 1
    same_place = difference(BOTH, more)
    assert same_place.apart == 1 and np.isnan(same_place.score_difference)


def test_pictures_must_be_as_many():
    with pytest.raises(ValueError):
        compare([BOTH], [BOTH, BOTH], STRICT, TEST)


def parity(detections=100, unmatched=0, apart=0, matched=100):
    return Parity(1, detections, matched, unmatched, apart, 0.5, 0.25)


def test_the_gate():
    check(parity(), STRICT)
    for wrong in (parity(unmatched=1), parity(apart=1), parity(matched=0)):
        with pytest.raises(ParityError):
            check(wrong, STRICT)


def test_a_comparison_without_detections_proves_nothing():
    with pytest.raises(ParityError, match=r"finds nothing on the 2 pictures.*--images.*--score-threshold"):
        check(compare([found()] * 2, [found()] * 2, STRICT, TEST), STRICT)


def test_a_share_may_be_apart():
    tolerance = Tolerance(1e-3, 1e-2, share=0.95)
    check(parity(unmatched=2, apart=3), tolerance)
    with pytest.raises(ParityError, match="3 detections without a partner and 3 of 100 .* where 5 may be"):
        check(parity(unmatched=3, apart=3), tolerance)
    check(parity(detections=13, apart=1), tolerance)  # 0.65, rounded up
    with pytest.raises(ParityError):
        check(parity(detections=13, apart=2), tolerance)


def test_it_is_said_in_one_line():
    line = format_parity(parity(unmatched=1))
    assert "100 of 100 detections matched, 1 without" in line and "5.0e-01" in line and "2.5e-01" in line


# The Keras model's side.


def test_reference_detections_are_those_of_detect(model):
    images = synthetic_images(2, (64, 96))
    reference = reference_detections(model, images)
    for image, (boxes, classes, scores) in zip(images, reference, strict=True):
        pixels, *others = detect_pixels(model, image)
        assert len(scores) > 0
        np.testing.assert_allclose(boxes * (64, 96, 64, 96), pixels, rtol=1e-5)
        np.testing.assert_array_equal([classes, scores], others)


def test_reference_proposals_are_the_rpns(model):
    (boxes, classes, scores), = reference_proposals(model, synthetic_images(1, (64, 96)))
    assert 0 < len(boxes) == len(classes) == len(scores) <= 40 and not classes.any()
    assert (np.diff(scores) <= 0).all() and (boxes >= 0).all() and (boxes <= 1).all()
    assert boxes[:, 2:].max() > 0.5  # shares of the sides, not of a larger picture


def test_synthetic_images_are_the_same_each_time():
    first, second = (synthetic_images(2, (48, 64)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.shape(first) == (2, 48, 64, 3) and (first[0] != first[1]).any()


def test_given_images(tmp_path):
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "a.png")
    (image,) = given_images([tmp_path / "a.png"])
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8([1, 2, 3]), (4, 5, 3)))
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(InputError, match="b.png"):
        given_images([tmp_path / "b.png"])


def test_map_of_the_truth_is_one_and_of_nothing_zero(voc_tree):
    dataset = load_dataset(f"voc:{voc_tree}", "train")
    answers = iter(dataset.examples)

    def truth(image):
        example = next(answers)
        assert image.shape == (example.height, example.width, 3)
        sides = (example.height, example.width) * 2
        return example.boxes / np.float32(sides), example.classes, np.ones(len(example.classes))

    assert mean_average_precision(truth, dataset, "") == pytest.approx(1.0)
    assert mean_average_precision(lambda image: found(), dataset, "") == 0.0


# The model as it is exported.


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
