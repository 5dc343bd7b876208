"""Detections: two classes by hand, and each rule on its own."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.facts.structures import HeadOutput, Proposals
from keras_frcnn.rules.detections import make_detections

SETTINGS = {"delta_std": (0.1, 0.1, 0.2, 0.2), "score_threshold": 0.05, "iou_threshold": 0.3, "max_detections": 5}
A, NEAR_A, B = [10, 10, 30, 30], [10, 12, 30, 32], [60, 60, 80, 80]  # the first two overlap: IoU 360 / 440


def head_output(probabilities, deltas=None):
    """The head output for (P, C) probabilities and normalised deltas {(proposal, class): (4,)}, zeros elsewhere."""
    probabilities = np.float32(probabilities)
    values = np.zeros([1, *probabilities.shape, 4], np.float32)
    for (proposal, class_index), delta in (deltas or {}).items():
        values[0, proposal, class_index] = delta
    return HeadOutput(logits=tf.constant(np.log(probabilities)[None]), deltas=tf.constant(values))


def proposals_of(boxes, valid=None):
    count = len(boxes)
    valid = [True] * count if valid is None else valid
    return Proposals(tf.constant([boxes], tf.float32), tf.zeros([1, count]), tf.constant([valid]))


def detect(output, proposals, image_size=(100, 100), **changes):
    """The detections of one image as [(class, score, box)]."""
    detections = make_detections(output, proposals, tf.constant([image_size]), **{**SETTINGS, **changes})
    boxes, classes, scores, valid = (field.numpy()[0] for field in detections)
    count = int(valid.sum())
    assert valid[:count].all() and np.all(np.diff(scores) <= 0)
    assert not np.any(boxes[count:]) and not np.any(classes[count:]) and not np.any(scores[count:])
    rows = zip(classes, scores, boxes, strict=True)
    return [(int(c), round(float(s), 4), np.round(b, 3).tolist()) for c, s, b in rows][:count]


def test_two_classes_by_hand():
    output = head_output(
        [
            [0.10, 0.55, 0.35],
            [0.10, 0.50, 0.40],
            [0.80, 0.04, 0.16],
            [0.05, 0.90, 0.05],  # padding
        ],
        # As class 1 the first box moves by tx = 1 * 0.1, 2 px of 20.  As class 2 the third gets twice the height.
        {(0, 1): (0, 1, 0, 0), (2, 2): (0, 0, np.log(2) / 0.2, 0)},
    )
    proposals = proposals_of([A, NEAR_A, B, [0, 0, 5, 5]], [True, True, True, False])
    # In class 1 the first box drops the second, in class 2 the second drops the first.
    assert detect(output, proposals) == [
        (1, 0.55, [10, 12, 30, 32]),
        (2, 0.4, NEAR_A),
        (2, 0.16, [50, 60, 90, 80]),
    ]


@pytest.mark.usefixtures("gpu_kernels")
def test_detections_under_the_rules_of_the_gpu_kernels():
    nan = float("nan")
    output = head_output(
        [[0.06, 0.9, 0.04], [0.06, 0.9, 0.04], [0.16, 0.8, 0.04], [0.26, 0.7, 0.04]],
        # The GPU's minimum replaces a NaN height delta by the limit: the box would get 62 times the height.
        {(0, 1): (0, 0, nan, 0), (1, 1): (nan, 0, 0, 0)},
    )
    proposals = proposals_of([A, B, A, B], [True, True, True, False])
    assert detect(output, proposals) == [(1, 0.8, A)]  # class 2 has no score over the threshold
    nothing = HeadOutput(tf.zeros([1, 0, 3]), tf.zeros([1, 0, 3, 4]))
    assert detect(nothing, Proposals(tf.zeros([1, 0, 4]), tf.zeros([1, 0]), tf.zeros([1, 0], tf.bool))) == []


def test_the_background_is_never_a_detection():
    assert detect(head_output([[0.98, 0.01, 0.01]]), proposals_of([A])) == []
    # The deltas of the background are not used.
    assert detect(head_output([[0.4, 0.6]], {(0, 0): (9, 9, 9, 9)}), proposals_of([A])) == [(1, 0.6, A)]


def test_a_score_must_be_over_the_threshold():
    even = head_output([[0.5, 0.5]])  # the softmax of two equal logits is exactly 0.5
    assert detect(even, proposals_of([A]), score_threshold=0.5) == []
    assert detect(even, proposals_of([A]), score_threshold=0.4999) == [(1, 0.5, A)]


def test_nms_threshold():
    # Two boxes of 10 x 20 have an IoU of 100 / 300.
    output, proposals = head_output([[0.3, 0.7], [0.4, 0.6]]), proposals_of([[0, 0, 10, 20], [0, 10, 10, 30]])
    assert len(detect(output, proposals, iou_threshold=0.3)) == 1
    assert len(detect(output, proposals, iou_threshold=0.34)) == 2


def test_the_best_of_all_classes_are_kept():
    output = head_output([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.05, 0.55, 0.4]])
    proposals = proposals_of([A, B, [10, 60, 30, 80]])
    assert detect(output, proposals, max_detections=3) == [(2, 0.7, B), (1, 0.55, [10, 60, 30, 80]), (1, 0.5, A)]
    assert detect(output, proposals, max_detections=1) == [(2, 0.7, B)]
    assert len(detect(output, proposals, max_detections=100)) == 6


def test_boxes_are_clipped_before_nms():
    # Both boxes reach beyond the image, on different sides.  Their IoU is 100 / 700, and 1 after clipping.
    output, proposals = head_output([[0.2, 0.8], [0.3, 0.7]]), proposals_of([[0, 0, 40, 10], [0, 0, 10, 40]])
    assert detect(output, proposals, image_size=(10, 10)) == [(1, 0.8, [0, 0, 10, 10])]
    assert len(detect(output, proposals, image_size=(40, 40))) == 2


def test_each_image_has_its_own_size_and_proposals():
    one = head_output([[0.2, 0.8], [0.3, 0.7]])
    output = HeadOutput(*(tf.concat([values, values], axis=0) for values in one))
    proposals = Proposals(
        boxes=tf.constant([[A, B], [B, A]], tf.float32),
        scores=tf.zeros([2, 2]),
        valid=tf.constant([[True, True], [True, False]]),
    )
    detections = make_detections(output, proposals, tf.constant([[100, 100], [70, 75]]), **SETTINGS)
    assert detections.valid.numpy().sum(axis=1).tolist() == [2, 1]
    np.testing.assert_allclose(detections.boxes[0, :2], [A, B], atol=1e-4)
    np.testing.assert_allclose(detections.boxes[1, 0], [60, 60, 70, 75], atol=1e-4)


def test_without_valid_proposals_there_are_no_detections():
    output = head_output([[0.1, 0.8, 0.1]] * 2)
    proposals = proposals_of([[0, 0, 0, 0]] * 2, [False] * 2)
    detections = make_detections(output, proposals, tf.constant([[100, 100]]), **SETTINGS)
    assert [field.shape for field in detections] == [(1, 5, 4), (1, 5), (1, 5), (1, 5)]
    assert not any(np.any(field) for field in detections)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nan_and_infinite_outputs_make_no_detections(number):
    deltas = {(0, 1): (0, number, 0, 0), (1, 1): (0, 0, 0, 0)}
    detections = detect(head_output([[0.1, 0.9], [0.3, 0.7]], deltas), proposals_of([A, B]))
    assert (1, 0.7, B) in detections
    assert all(np.all(np.isfinite(box)) for _, _, box in detections)
    output = head_output([[0.5, 0.5], [0.3, 0.7]])
    broken = output._replace(logits=tf.constant([[[0, number], [np.log(0.3), np.log(0.7)]]], tf.float32))
    assert detect(broken, proposals_of([A, B])) == [(1, 0.7, B)]


def test_half_precision_is_computed_in_float32():
    output = head_output([[0.25, 0.5, 0.25]], {(0, 1): (1, 1, 1, 1)})
    for dtype in (tf.float16, tf.bfloat16):
        half = HeadOutput(*(tf.cast(values, dtype) for values in output))
        rounded = HeadOutput(*(tf.cast(values, tf.float32) for values in half))
        proposals, sizes = proposals_of([A]), tf.constant([[100, 100]])
        result = make_detections(half, proposals, sizes, **SETTINGS)
        expected = make_detections(rounded, proposals, sizes, **SETTINGS)
        assert [field.dtype for field in result] == [tf.float32, tf.int32, tf.float32, tf.bool]
        for field, field_expected in zip(result, expected, strict=True):
            np.testing.assert_array_equal(field, field_expected)
