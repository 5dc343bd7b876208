"""Non-maximum suppression against oracles in float64, and by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from official.vision.ops import nms as official_nms

from keras_frcnn.rules.suppression import suppress


def crowded_boxes(rng, count):
    """Random boxes, many of which overlap, and scores that all differ."""
    first = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([first, first + rng.uniform(20, 60, (count, 2))], axis=-1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.01, 0.99, count)).astype(np.float32)
    return boxes, scores


def kept_by_suppress(boxes, scores, valid=None, count=10, iou_threshold=0.5):
    valid = np.ones(len(scores), bool) if valid is None else np.array(valid)
    boxes, scores = (tf.constant(values, tf.float32) for values in (boxes, scores))
    indices, kept = suppress(tf.reshape(boxes, [-1, 4]), scores, valid, count, iou_threshold)
    assert indices.shape == kept.shape == (count,) and indices.dtype == tf.int32
    kept = kept.numpy()
    assert np.all(np.diff(kept.astype(int)) <= 0)  # the kept rows come first
    return indices.numpy()[kept].tolist()


@pytest.mark.parametrize("iou_threshold", [0.3, 0.7])
def test_suppress_equals_the_oracle(nms_oracle, iou_threshold):
    rng = np.random.default_rng(0)
    boxes, scores = crowded_boxes(rng, 80)
    valid = rng.random(80) < 0.8
    expected = nms_oracle(np.float64(boxes), scores, valid, 100, iou_threshold)
    assert 3 < len(expected) < valid.sum()
    assert kept_by_suppress(boxes, scores, valid, 100, iou_threshold) == expected
    assert kept_by_suppress(boxes, scores, valid, 4, iou_threshold) == expected[:4]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 35), st.floats(0.1, 0.9))
def test_suppress_equals_the_oracle_on_any_boxes(nms_oracle, seed, boxes, count, iou_threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = crowded_boxes(rng, boxes)
    valid = rng.random(len(scores)) < 0.7
    expected = nms_oracle(np.float64(boxes), scores, valid, count, iou_threshold)
    assert kept_by_suppress(boxes, scores, valid, count, iou_threshold) == expected


# Only thresholds from 0.5 on: the official function treats an IoU up to 0.5 as 0, so a lower threshold has no effect.
@pytest.mark.parametrize("iou_threshold", [0.5, 0.7])
def test_suppress_equals_the_official_function(iou_threshold):
    boxes, scores = crowded_boxes(np.random.default_rng(1), 100)
    best_first = np.argsort(-scores)
    _, expected = official_nms.sorted_non_max_suppression_padded(
        tf.constant(scores[best_first][None]), tf.constant(boxes[best_first][None]), 100, iou_threshold
    )
    expected = expected.numpy()[0]
    expected = expected[np.any(expected > 0, axis=-1)]
    assert 3 < len(expected) < 100
    kept = kept_by_suppress(boxes, scores, count=100, iou_threshold=iou_threshold)
    np.testing.assert_array_equal(boxes[kept], expected)


def test_a_box_with_exactly_the_threshold_is_kept():
    # The intersection is 50 and the union 100: IoU 0.5.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert kept_by_suppress(boxes, [0.9, 0.8], iou_threshold=0.5) == [0, 1]
    assert kept_by_suppress(boxes, [0.9, 0.8], iou_threshold=0.499) == [0]


def test_a_dropped_box_drops_no_other():
    # A chain: the first box drops the second, which would have dropped the third.
    boxes = [[0, 0, 10, 10], [0, 3, 10, 13], [0, 6, 10, 16]]
    assert kept_by_suppress(boxes, [0.9, 0.8, 0.7]) == [0, 2]
    assert kept_by_suppress(boxes, [0.9, 0.8, 0.7], [False, True, True]) == [1]


def test_of_equal_scores_the_lower_index_wins():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]
    assert kept_by_suppress(boxes, [0.5, 0.5, 0.5]) == [0, 2]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_never_kept(number):
    good = [0, 0, 10, 10]
    apart = [[100 * i, 0, 100 * i + 10, 10] for i in range(1, 5)]
    boxes = np.float32([good, *apart])
    for row, corner in enumerate(range(4), start=1):
        boxes[row, corner] = number
    assert kept_by_suppress(boxes, [0.1, 0.9, 0.9, 0.9, 0.9]) == [0]
    assert kept_by_suppress([good, *apart], [0.1, number, 0.5, number, 0.4]) == [2, 4, 0]
    assert kept_by_suppress(np.full([3, 4], number), [0.9, 0.8, 0.7]) == []
    assert kept_by_suppress([good], [number]) == []


def test_without_valid_boxes_nothing_is_kept():
    assert kept_by_suppress([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], [False, False]) == []
    assert kept_by_suppress([], []) == []


def test_scores_may_be_negative():
    assert kept_by_suppress([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [-2.0, -1.0, -3.0]) == [1, 2]


@pytest.mark.usefixtures("gpu_kernels")
@pytest.mark.parametrize("count", [1, 3, 10])
def test_suppress_under_the_rules_of_the_gpu_kernel(count):
    nan, inf = float("nan"), float("inf")
    apart = [[0, 20 * i, 10, 20 * i + 10] for i in range(8)]
    boxes, scores = np.float32(apart), np.float32([0.1, 0.9, 0.8, 0.7, nan, 0.6, 0.5, 0.2])
    boxes[1, 0], boxes[2, 3], boxes[3, 2] = nan, inf, 0.0  # box 3 has no area
    valid = [True] * 5 + [False] + [True] * 2
    assert kept_by_suppress(boxes, scores, valid, count) == [6, 7, 0][:count]
    assert kept_by_suppress(boxes, scores, [False] * 8, count) == []
    assert kept_by_suppress([], [], count=count) == []


@pytest.mark.usefixtures("gpu_kernels")
def test_suppress_equals_the_oracle_under_the_rules_of_the_gpu_kernel(nms_oracle):
    rng = np.random.default_rng(5)
    boxes, scores = crowded_boxes(rng, 80)
    valid = rng.random(80) < 0.8
    expected = nms_oracle(np.float64(boxes), scores, valid, 100, 0.5)
    assert 3 < len(expected) < valid.sum()
    assert kept_by_suppress(boxes, scores, valid, 100) == expected
