"""Non-maximum suppression and the way from RPN outputs to proposals, against oracles in float64."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from official.vision.ops import nms as official_nms

from keras_frcnn.geometry.anchors import on_feature_cells, tile_anchors
from keras_frcnn.rules.proposals import make_proposals, suppress
from keras_frcnn.facts.structures import RPNOutput


def iou_oracle(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(height, 0) * max(width, 0)
    return intersection / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection)


def nms_oracle(boxes, scores, valid, count, iou_threshold):
    """Indices of the kept boxes, best first."""
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: -scores[i]):
        if len(kept) < count and all(iou_oracle(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(int(i))
    return kept


def crowded_boxes(rng, count):
    """Boxes in a narrow field, so that many overlap."""
    first = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([first, first + rng.uniform(20, 60, (count, 2))], axis=-1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.01, 0.99, count)).astype(np.float32)  # no two alike
    return boxes, scores


def kept_by_suppress(boxes, scores, valid=None, count=10, iou_threshold=0.5):
    valid = np.ones(len(scores), bool) if valid is None else np.array(valid)
    boxes, scores = (tf.constant(values, tf.float32) for values in (boxes, scores))
    indices, kept = suppress(tf.reshape(boxes, [-1, 4]), scores, valid, count, iou_threshold)
    assert indices.shape == kept.shape == (count,) and indices.dtype == tf.int32
    kept = kept.numpy()
    assert np.all(np.diff(kept.astype(int)) <= 0)  # what is kept comes first
    return indices.numpy()[kept].tolist()


# --- suppress


@pytest.mark.parametrize("iou_threshold", [0.3, 0.7])
def test_suppress_equals_a_naive_one(iou_threshold):
    rng = np.random.default_rng(0)
    boxes, scores = crowded_boxes(rng, 80)
    valid = rng.random(80) < 0.8
    expected = nms_oracle(np.float64(boxes), scores, valid, 100, iou_threshold)
    assert 3 < len(expected) < valid.sum()
    assert kept_by_suppress(boxes, scores, valid, 100, iou_threshold) == expected
    assert kept_by_suppress(boxes, scores, valid, 4, iou_threshold) == expected[:4]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 35), st.floats(0.1, 0.9))
def test_suppress_equals_a_naive_one_on_any_boxes(seed, boxes, count, iou_threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = crowded_boxes(rng, boxes)
    valid = rng.random(len(scores)) < 0.7
    expected = nms_oracle(np.float64(boxes), scores, valid, count, iou_threshold)
    assert kept_by_suppress(boxes, scores, valid, count, iou_threshold) == expected


# Under 0.5 the official one lets through what overlaps by less than 0.5: it takes an IoU up to 0.5 for none at all.
@pytest.mark.parametrize("iou_threshold", [0.5, 0.7])
def test_suppress_equals_the_official_one(iou_threshold):
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


def test_exactly_the_threshold_is_kept():
    # 50 of 100: IoU 0.5.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert kept_by_suppress(boxes, [0.9, 0.8], iou_threshold=0.5) == [0, 1]
    assert kept_by_suppress(boxes, [0.9, 0.8], iou_threshold=0.499) == [0]


def test_what_fell_does_not_suppress():
    # A chain: the first takes the second, which would have taken the third.
    boxes = [[0, 0, 10, 10], [0, 3, 10, 13], [0, 6, 10, 16]]
    assert kept_by_suppress(boxes, [0.9, 0.8, 0.7]) == [0, 2]
    assert kept_by_suppress(boxes, [0.9, 0.8, 0.7], [False, True, True]) == [1]


def test_of_equal_scores_the_first_is_best():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]
    assert kept_by_suppress(boxes, [0.5, 0.5, 0.5]) == [0, 2]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_no_number_is_never_kept(number):
    good = [0, 0, 10, 10]
    apart = [[100 * i, 0, 100 * i + 10, 10] for i in range(1, 5)]
    boxes = np.float32([good, *apart])
    for row, corner in enumerate(range(4), start=1):
        boxes[row, corner] = number
    assert kept_by_suppress(boxes, [0.1, 0.9, 0.9, 0.9, 0.9]) == [0]
    assert kept_by_suppress([good, *apart], [0.1, number, 0.5, number, 0.4]) == [2, 4, 0]
    assert kept_by_suppress(np.full([3, 4], number), [0.9, 0.8, 0.7]) == []
    assert kept_by_suppress([good], [number]) == []


def test_nothing_valid_nothing_kept():
    assert kept_by_suppress([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], [False, False]) == []
    assert kept_by_suppress([], []) == []


def test_negative_scores_are_scores():
    assert kept_by_suppress([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [-2.0, -1.0, -3.0]) == [1, 2]


@pytest.mark.usefixtures("gpu_kernels")
@pytest.mark.parametrize("count", [1, 3, 10])
def test_suppress_under_the_rules_of_the_gpu_kernel(count):
    nan, inf = float("nan"), float("inf")
    apart = [[0, 20 * i, 10, 20 * i + 10] for i in range(8)]
    boxes, scores = np.float32(apart), np.float32([0.1, 0.9, 0.8, 0.7, nan, 0.6, 0.5, 0.2])
    boxes[1, 0], boxes[2, 3], boxes[3, 2] = nan, inf, 0.0  # the last has no area
    valid = [True] * 5 + [False] + [True] * 2
    assert kept_by_suppress(boxes, scores, valid, count) == [6, 7, 0][:count]
    assert kept_by_suppress(boxes, scores, [False] * 8, count) == []
    assert kept_by_suppress([], [], count=count) == []


@pytest.mark.usefixtures("gpu_kernels")
def test_suppress_equals_a_naive_one_under_the_rules_of_the_gpu_kernel():
    rng = np.random.default_rng(5)
    boxes, scores = crowded_boxes(rng, 80)
    valid = rng.random(80) < 0.8
    expected = nms_oracle(np.float64(boxes), scores, valid, 100, 0.5)
    assert 3 < len(expected) < valid.sum()
    assert kept_by_suppress(boxes, scores, valid, 100) == expected


# --- make_proposals

SETTINGS = {"min_size": 16.0, "pre_nms_topk": 0, "post_nms_topk": 10, "iou_threshold": 0.7}
STRIDE = 16


def proposals_oracle(output, anchors, candidates, image_size, min_size, pre_nms_topk, post_nms_topk, iou_threshold):
    """Boxes and scores of one image's proposals, step by step as in section 3.3, in float64."""
    logits, deltas, anchors = (np.float64(values) for values in (*output, anchors))
    scores = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    boxes = []
    for (ty, tx, th, tw), (y0, x0, y1, x1) in zip(deltas, anchors, strict=True):
        height, width = (y1 - y0) * np.exp(th), (x1 - x0) * np.exp(tw)
        y, x = (y0 + y1) / 2 + ty * (y1 - y0), (x0 + x1) / 2 + tx * (x1 - x0)
        box = np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
        boxes.append(np.clip(box, 0, [*image_size, *image_size]))
    boxes = np.array(boxes)
    valid = candidates & np.all(boxes[:, 2:] - boxes[:, :2] >= min_size, axis=-1)
    best = sorted(np.flatnonzero(valid), key=lambda i: -scores[i])
    best = best[:pre_nms_topk] if pre_nms_topk else best
    kept = nms_oracle(boxes, scores, np.isin(np.arange(len(scores)), best), post_nms_topk, iou_threshold)
    return boxes[kept], scores[kept]


def random_output(rng, anchors, batch=2):
    """Outputs that move most anchors somewhat, some of them out of the image or under the least size."""
    return RPNOutput(
        logits=tf.constant(rng.normal(0, 2, (batch, anchors, 2)), tf.float32),
        deltas=tf.constant(rng.normal(0, 0.5, (batch, anchors, 4)), tf.float32),
    )


@pytest.mark.parametrize("pre_nms_topk", [0, 25, 1000])
def test_proposals_equal_the_oracle(pre_nms_topk):
    rng = np.random.default_rng(2)
    anchors = tile_anchors([24, 48], [0.5, 1, 2], 4, 6, STRIDE)
    sizes = np.array([[70, 97], [50, 64]])
    candidates = on_feature_cells(anchors, tf.constant(sizes), STRIDE).numpy()
    assert candidates[0].all() and not candidates[1].all()
    output = random_output(rng, len(anchors))
    arguments = {**SETTINGS, "pre_nms_topk": pre_nms_topk, "post_nms_topk": 100}
    proposals = make_proposals(output, anchors, candidates, tf.constant(sizes), **arguments)
    assert [field.shape for field in proposals] == [(2, 100, 4), (2, 100), (2, 100)]
    for i in range(2):
        raw = [values.numpy()[i] for values in output]
        boxes, scores = proposals_oracle(raw, anchors, candidates[i], sizes[i], **arguments)
        count = len(scores)
        assert 5 < count < 100
        assert proposals.valid.numpy()[i].tolist() == [True] * count + [False] * (100 - count)
        np.testing.assert_allclose(proposals.boxes[i, :count], boxes, atol=1e-3)
        np.testing.assert_allclose(proposals.scores[i, :count], scores, rtol=1e-5)
        assert not np.any(proposals.boxes[i, count:]) and not np.any(proposals.scores[i, count:])


def by_hand(anchors, probabilities, candidates=None, image_size=(100, 100), deltas=None, **changes):
    """Proposals of one image: the valid boxes as lists, and their scores."""
    anchors, probabilities = tf.constant(anchors, tf.float32), np.float32(probabilities)
    count = len(probabilities)
    output = RPNOutput(
        logits=tf.constant(np.log(np.stack([1 - probabilities, probabilities], axis=-1))[None]),
        deltas=tf.zeros([1, count, 4]) if deltas is None else tf.constant([deltas], tf.float32),
    )
    candidates = np.ones([1, count], bool) if candidates is None else np.array([candidates])
    result = make_proposals(output, anchors, candidates, tf.constant([image_size]), **{**SETTINGS, **changes})
    valid = result.valid.numpy()[0]
    return result.boxes.numpy()[0][valid].tolist(), result.scores.numpy()[0][valid]


A, NEAR_A, B, C = [0, 0, 40, 40], [0, 0, 40, 38], [50, 50, 90, 90], [0, 50, 40, 90]


def test_proposals_by_hand():
    # The object's probability is the score; best first; the second box falls to the first (IoU 0.95).
    boxes, scores = by_hand([NEAR_A, A, B], [0.6, 0.9, 0.7])
    assert boxes == [A, B]
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)


def test_boxes_are_clipped_to_the_image():
    assert by_hand([[-20, -30, 40, 50]], [0.5], image_size=(30, 45))[0] == [[0, 0, 30, 45]]


def test_small_boxes_are_dropped():
    exact, flat, narrow = [0, 0, 16, 40], [50, 0, 65.9, 40], [50, 50, 90, 65.9]
    assert by_hand([exact, flat, narrow], [0.5, 0.6, 0.7])[0] == [exact]
    # The size counts after clipping: 25 px of a 40 px box would do, 10 px do not.
    assert by_hand([[-15, 0, 25, 40], [-30, 50, 10, 90]], [0.5, 0.6])[0] == [[0, 0, 25, 40]]
    # And after the deltas: a tenth of the height is left.
    assert by_hand([A, B], [0.9, 0.8], deltas=[[0, 0, np.log(0.1), 0], [0] * 4])[0] == [B]


def test_candidates_alone_become_proposals():
    assert by_hand([A, NEAR_A, B], [0.9, 0.8, 0.7], [False, True, True])[0] == [NEAR_A, B]


def test_the_cut_before_nms():
    boxes, probabilities = [A, NEAR_A, B, C], [0.9, 0.8, 0.7, 0.6]
    assert by_hand(boxes, probabilities, pre_nms_topk=0)[0] == [A, B, C]
    assert by_hand(boxes, probabilities, pre_nms_topk=2)[0] == [A]
    assert by_hand(boxes, probabilities, pre_nms_topk=3)[0] == [A, B]
    assert by_hand(boxes, probabilities, pre_nms_topk=100)[0] == [A, B, C]
    # What is no candidate takes no place in the cut.
    assert by_hand(boxes, probabilities, [False, False, True, True], pre_nms_topk=2)[0] == [B, C]


def test_the_cut_after_nms():
    assert by_hand([A, NEAR_A, B, C], [0.9, 0.8, 0.7, 0.6], post_nms_topk=2)[0] == [A, B]


@pytest.mark.parametrize("pre_nms_topk", [0, 2])
def test_all_filtered(pre_nms_topk):
    output = RPNOutput(logits=tf.zeros([2, 3, 2]), deltas=tf.zeros([2, 3, 4]))
    anchors = tf.constant([A, B, [0, 0, 5, 5]], tf.float32)
    # No candidate in the first image, only a small box in the second.
    candidates = tf.constant([[False] * 3, [False, False, True]])
    arguments = {**SETTINGS, "pre_nms_topk": pre_nms_topk}
    proposals = make_proposals(output, anchors, candidates, tf.constant([[100, 100]] * 2), **arguments)
    assert proposals.valid.numpy().tolist() == [[False] * 10] * 2
    assert not np.any(proposals.boxes) and not np.any(proposals.scores)


@pytest.mark.parametrize("pre_nms_topk", [0, 3])
def test_outputs_that_are_no_numbers_make_no_proposals(pre_nms_topk):
    nan = float("nan")
    deltas = [[0] * 4, [nan, 0, 0, 0], [0, 0, nan, 0]]
    assert by_hand([A, B, C], [0.5, 0.9, 0.8], deltas=deltas, pre_nms_topk=pre_nms_topk)[0] == [A]
    assert by_hand([A, B, C], [0.5, nan, nan], pre_nms_topk=pre_nms_topk)[0] == [A]


@pytest.mark.usefixtures("gpu_kernels")
@pytest.mark.parametrize("pre_nms_topk", [0, 3])
def test_proposals_under_the_rules_of_the_gpu_kernels(pre_nms_topk):
    nan, small = float("nan"), [60, 0, 70, 10]
    boxes, probabilities = [A, B, C, small, NEAR_A], [0.5, 0.9, 0.8, 0.7, 0.4]
    candidates = [True, True, True, True, False]
    # Minimum drops a NaN height delta, which would leave a box of 62 times the height.
    deltas = [[0] * 4, [nan, 0, 0, 0], [0, 0, nan, 0], [0] * 4, [0] * 4]
    assert by_hand(boxes, probabilities, candidates, deltas=deltas, pre_nms_topk=pre_nms_topk)[0] == [A]
    assert by_hand(boxes, probabilities, [False] * 5, pre_nms_topk=pre_nms_topk)[0] == []


def test_scores_that_are_no_numbers_take_no_place_in_the_cut():
    nan = float("nan")
    assert by_hand([A, B, C], [nan, 0.8, 0.7], pre_nms_topk=2)[0] == [B, C]
    assert by_hand([A, B, C], [0.8, nan, 0.7], pre_nms_topk=2)[0] == [A, C]
    assert by_hand([A, B, C], [0.8, 0.7, nan], pre_nms_topk=1)[0] == [A]


def test_half_precision_is_computed_in_float32():
    rng = np.random.default_rng(3)
    anchors = tile_anchors([24, 48], [1], 4, 4, STRIDE)
    output = random_output(rng, len(anchors), 1)
    for dtype in (tf.float16, tf.bfloat16):
        half = RPNOutput(*(tf.cast(values, dtype) for values in output))
        rounded = RPNOutput(*(tf.cast(values, tf.float32) for values in half))
        candidates, sizes = tf.ones([1, len(anchors)], tf.bool), tf.constant([[64, 64]])
        result = make_proposals(half, anchors, candidates, sizes, **SETTINGS)
        expected = make_proposals(rounded, anchors, candidates, sizes, **SETTINGS)
        assert result.boxes.dtype == result.scores.dtype == tf.float32
        for field, field_expected in zip(result, expected, strict=True):
            np.testing.assert_array_equal(field, field_expected)


def test_no_gradient_flows_through_proposals():
    anchors = tile_anchors([24], [1], 3, 3, STRIDE)
    output = random_output(np.random.default_rng(4), len(anchors), 1)
    with tf.GradientTape() as tape:
        tape.watch([output.logits, output.deltas])
        proposals = make_proposals(output, anchors, tf.ones([1, 9], tf.bool), tf.constant([[48, 48]]), **SETTINGS)
        total = tf.reduce_sum(proposals.boxes) + tf.reduce_sum(proposals.scores)
    assert total > 0
    for gradient in tape.gradient(total, [output.logits, output.deltas]):
        assert gradient is None or not np.any(gradient)
