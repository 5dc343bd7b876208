"""From RPN outputs to proposals, against an oracle in float64 and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.facts.structures import RPNOutput
from keras_frcnn.geometry.anchors import on_feature_cells, tile_anchors
from keras_frcnn.rules.proposals import make_proposals

SETTINGS = {"min_size": 16.0, "pre_nms_topk": 0, "post_nms_topk": 10, "iou_threshold": 0.7}
STRIDE = 16


def proposals_oracle(
    nms, output, anchors, candidates, image_size, min_size, pre_nms_topk, post_nms_topk, iou_threshold
):
    """Boxes and scores of one image's proposals in float64, one rule of section 3.3 after another."""
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
    kept = nms(boxes, scores, np.isin(np.arange(len(scores)), best), post_nms_topk, iou_threshold)
    return boxes[kept], scores[kept]


def random_output(rng, anchors, batch=2):
    """Random outputs that move the anchors, some of them out of the image or below the smallest size."""
    return RPNOutput(
        logits=tf.constant(rng.normal(0, 2, (batch, anchors, 2)), tf.float32),
        deltas=tf.constant(rng.normal(0, 0.5, (batch, anchors, 4)), tf.float32),
    )


@pytest.mark.parametrize("pre_nms_topk", [0, 25, 1000])
def test_proposals_equal_the_oracle(nms_oracle, pre_nms_topk):
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
        boxes, scores = proposals_oracle(nms_oracle, raw, anchors, candidates[i], sizes[i], **arguments)
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
    # The probability of an object is the score.  The best box drops NEAR_A, which overlaps it with IoU 0.95.
    boxes, scores = by_hand([NEAR_A, A, B], [0.6, 0.9, 0.7])
    assert boxes == [A, B]
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)


def test_boxes_are_clipped_to_the_image():
    assert by_hand([[-20, -30, 40, 50]], [0.5], image_size=(30, 45))[0] == [[0, 0, 30, 45]]


def test_small_boxes_are_dropped():
    exact, flat, narrow = [0, 0, 16, 40], [50, 0, 65.9, 40], [50, 50, 90, 65.9]
    assert by_hand([exact, flat, narrow], [0.5, 0.6, 0.7])[0] == [exact]
    # Sizes are measured after clipping: 25 px are left of the first box and 10 px of the second.
    assert by_hand([[-15, 0, 25, 40], [-30, 50, 10, 90]], [0.5, 0.6])[0] == [[0, 0, 25, 40]]
    # They are measured after decoding: the deltas shrink the first box to a tenth of its height.
    assert by_hand([A, B], [0.9, 0.8], deltas=[[0, 0, np.log(0.1), 0], [0] * 4])[0] == [B]


def test_only_candidates_become_proposals():
    assert by_hand([A, NEAR_A, B], [0.9, 0.8, 0.7], [False, True, True])[0] == [NEAR_A, B]


def test_the_limit_before_nms():
    boxes, probabilities = [A, NEAR_A, B, C], [0.9, 0.8, 0.7, 0.6]
    assert by_hand(boxes, probabilities, pre_nms_topk=0)[0] == [A, B, C]
    assert by_hand(boxes, probabilities, pre_nms_topk=2)[0] == [A]
    assert by_hand(boxes, probabilities, pre_nms_topk=3)[0] == [A, B]
    assert by_hand(boxes, probabilities, pre_nms_topk=100)[0] == [A, B, C]
    # Anchors that are not candidates do not count towards the limit.
    assert by_hand(boxes, probabilities, [False, False, True, True], pre_nms_topk=2)[0] == [B, C]


def test_the_limit_after_nms():
    assert by_hand([A, NEAR_A, B, C], [0.9, 0.8, 0.7, 0.6], post_nms_topk=2)[0] == [A, B]


@pytest.mark.parametrize("pre_nms_topk", [0, 2])
def test_without_candidates_or_large_boxes_there_are_no_proposals(pre_nms_topk):
    output = RPNOutput(logits=tf.zeros([2, 3, 2]), deltas=tf.zeros([2, 3, 4]))
    anchors = tf.constant([A, B, [0, 0, 5, 5]], tf.float32)
    # The first image has no candidate, the second only one that is too small.
    candidates = tf.constant([[False] * 3, [False, False, True]])
    arguments = {**SETTINGS, "pre_nms_topk": pre_nms_topk}
    proposals = make_proposals(output, anchors, candidates, tf.constant([[100, 100]] * 2), **arguments)
    assert proposals.valid.numpy().tolist() == [[False] * 10] * 2
    assert not np.any(proposals.boxes) and not np.any(proposals.scores)


@pytest.mark.parametrize("pre_nms_topk", [0, 3])
def test_nan_outputs_make_no_proposals(pre_nms_topk):
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
    # The GPU's minimum replaces a NaN height delta by the limit: the box would get 62 times the height.
    deltas = [[0] * 4, [nan, 0, 0, 0], [0, 0, nan, 0], [0] * 4, [0] * 4]
    assert by_hand(boxes, probabilities, candidates, deltas=deltas, pre_nms_topk=pre_nms_topk)[0] == [A]
    assert by_hand(boxes, probabilities, [False] * 5, pre_nms_topk=pre_nms_topk)[0] == []


def test_nan_scores_do_not_count_towards_the_limit():
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
