"""Box arithmetic: values by hand, a float64 oracle, and the box operations of tf-models-official."""

import math

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from official.vision.ops import box_ops as official_box_ops
from official.vision.ops import iou_similarity

from keras_frcnn.geometry import boxes as box_ops


def random_boxes(rng, *shape):
    """Boxes with sides of 10 to 200 px that begin at 0 to 300 px."""
    first = rng.uniform(0, 300, (*shape, 2))
    return np.concatenate([first, first + rng.uniform(10, 200, (*shape, 2))], axis=-1).astype(np.float32)


def iou_oracle(a, b):
    """IoU of two boxes, in float64."""
    (ay0, ax0, ay1, ax1), (by0, bx0, by1, bx1) = (np.float64(box) for box in (a, b))
    height = min(ay1, by1) - max(ay0, by0)
    width = min(ax1, bx1) - max(ax0, bx0)
    intersection = max(height, 0) * max(width, 0)
    union = (ay1 - ay0) * (ax1 - ax0) + (by1 - by0) * (bx1 - bx0) - intersection
    return intersection / union if union else 0.0


def encode_oracle(box, reference):
    """Deltas of one box, in float64."""
    (y0, x0, y1, x1), (ry0, rx0, ry1, rx1) = (np.float64(corners) for corners in (box, reference))
    return [
        ((y0 + y1) / 2 - (ry0 + ry1) / 2) / (ry1 - ry0),
        ((x0 + x1) / 2 - (rx0 + rx1) / 2) / (rx1 - rx0),
        np.log((y1 - y0) / (ry1 - ry0)),
        np.log((x1 - x0) / (rx1 - rx0)),
    ]


def test_area():
    boxes = tf.constant([[0, 0, 10, 20], [1.5, 2, 4, 3], [5, 5, 5, 9], [9, 9, 2, 3]], tf.float32)
    # The last one is inverted on both axes: two negative sides must not make an area.
    np.testing.assert_array_equal(box_ops.area(boxes), [200, 2.5, 0, 0])


def test_iou_by_hand():
    a = tf.constant([[0, 0, 10, 10]], tf.float32)
    others = {
        "identical": ((0, 0, 10, 10), 1.0),
        "half beside": ((0, 5, 10, 15), 50 / 150),
        "half below": ((5, 0, 15, 10), 50 / 150),
        "a corner": ((8, 6, 18, 16), 8 / 192),  # 2 x 4 in common
        "contained": ((2, 2, 7, 6), 20 / 100),
        "containing": ((-10, 0, 10, 20), 100 / 400),
        "touching an edge": ((0, 10, 10, 20), 0.0),
        "touching a corner": ((10, 10, 20, 20), 0.0),
        "apart on one axis": ((0, 30, 10, 40), 0.0),
        "apart on both axes": ((30, 30, 40, 40), 0.0),
        "empty, inside": ((5, 5, 5, 5), 0.0),
        "a line, inside": ((5, 0, 5, 10), 0.0),
        "inverted": ((10, 10, 0, 0), 0.0),
    }
    ious = box_ops.pairwise_iou(a, tf.constant([box for box, _ in others.values()], tf.float32))
    assert ious.shape == (1, len(others)) and ious.dtype == tf.float32
    for (name, (_, expected)), iou in zip(others.items(), ious.numpy()[0], strict=True):
        np.testing.assert_allclose(iou, expected, rtol=1e-6, err_msg=name)


def test_iou_of_two_empty_boxes_is_zero():
    assert box_ops.pairwise_iou(tf.zeros([2, 4]), tf.zeros([3, 4])).numpy().tolist() == [[0] * 3] * 2


def test_iou_without_boxes():
    assert box_ops.pairwise_iou(tf.zeros([2, 5, 4]), tf.zeros([2, 0, 4])).shape == (2, 5, 0)
    assert box_ops.pairwise_iou(tf.zeros([2, 0, 4]), tf.zeros([2, 5, 4])).shape == (2, 0, 5)


def test_iou_with_given_areas():
    a = tf.constant([[0, 0, 10, 10], [0, 0, 20, 10]], tf.float32)
    b = tf.constant([[0, 5, 10, 15]], tf.float32)
    # The intersections are 50 square pixels.  The areas are 150 and 300, not 100 and 200 as computed from the corners.
    ious = box_ops.pairwise_iou(a, b, tf.constant([150.0, 300.0]))
    np.testing.assert_allclose(ious, [[50 / 200], [50 / 350]], rtol=1e-6)


def test_snap():
    spacing = 1 / 1024
    boxes = tf.constant([[0.4 * spacing, 0.6 * spacing, 1000 + 0.6 * spacing, -3 - 0.6 * spacing]], tf.float32)
    np.testing.assert_array_equal(box_ops.snap(boxes), [[0, spacing, 1000 + spacing, -3 - spacing]])
    np.testing.assert_array_equal(box_ops.snap(box_ops.snap(boxes)), box_ops.snap(boxes))


def test_iou_of_every_pair_equals_the_oracles():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 2, 30), random_boxes(rng, 2, 20)
    ious = box_ops.pairwise_iou(a, b)
    expected = [[[iou_oracle(box, other) for other in b[i]] for box in a[i]] for i in range(2)]
    assert np.count_nonzero(expected) > 100
    np.testing.assert_allclose(ious, expected, rtol=1e-4, atol=1e-6)
    a, b = tf.constant(a), tf.constant(b)
    np.testing.assert_allclose(ious, official_box_ops.bbox_overlap(a, b), atol=1e-6)
    np.testing.assert_allclose(ious, iou_similarity.iou(a, b), atol=1e-6)


def test_one_reference_for_a_batch():
    rng = np.random.default_rng(1)
    anchors, boxes = random_boxes(rng, 6), random_boxes(rng, 3, 4)
    together = box_ops.pairwise_iou(anchors[None], boxes)
    assert together.shape == (3, 6, 4)
    for i in range(3):
        np.testing.assert_array_equal(together[i], box_ops.pairwise_iou(anchors, boxes[i]))


def test_clip_to_each_image():
    boxes = [[-5, -6, 60, 120], [10, 20, 30, 40], [60, 110, 70, 120], [-9, -9, -1, -1]]
    clipped = box_ops.clip(tf.constant([boxes, boxes], tf.float32), tf.constant([[50, 100], [25, 35]]))
    np.testing.assert_array_equal(
        clipped,
        [
            # The third box lies beyond the image, the fourth before it: nothing but a point of the border is left.
            [[0, 0, 50, 100], [10, 20, 30, 40], [50, 100, 50, 100], [0, 0, 0, 0]],
            [[0, 0, 25, 35], [10, 20, 25, 35], [25, 35, 25, 35], [0, 0, 0, 0]],
        ],
    )


def test_flip_by_hand():
    flipped = box_ops.flip_horizontally(tf.constant([[1, 2, 3, 6], [0, 0, 5, 10]], tf.float32), 10)
    np.testing.assert_array_equal(flipped, [[1, 4, 3, 8], [0, 0, 5, 10]])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 200)] * 4), min_size=1, max_size=5), st.integers(1, 400))
def test_flipping_twice_changes_nothing(corners, width):
    boxes = tf.constant(corners, tf.float32)
    width = tf.constant(width)
    twice = box_ops.flip_horizontally(box_ops.flip_horizontally(boxes, width), width)
    np.testing.assert_array_equal(twice, boxes)


def test_pixels_of_both_frames_by_hand():
    # 375 x 500 became 600 x 800, 1.6 times as large.  200 x 101 became 600 x 303, 3 times as large.
    resized = tf.constant([[[160, 320, 480, 800], [0, 0, 0, 0]], [[0, 30, 600, 303], [3, 3, 6, 6]]], tf.float32)
    original = tf.constant([[[100, 200, 300, 500], [0, 0, 0, 0]], [[0, 10, 200, 101], [1, 1, 2, 2]]], tf.float32)
    image_sizes, original_sizes = tf.constant([[600, 800], [600, 303]]), tf.constant([[375, 500], [200, 101]])
    np.testing.assert_allclose(box_ops.to_original_pixels(resized, image_sizes, original_sizes), original, rtol=1e-6)
    np.testing.assert_allclose(box_ops.to_resized_pixels(original, image_sizes, original_sizes), resized, rtol=1e-6)
    # One image, without the batch axis.
    one = box_ops.to_resized_pixels(original[0], image_sizes[0], original_sizes[0])
    np.testing.assert_allclose(one, resized[0], rtol=1e-6)
    assert box_ops.to_resized_pixels(tf.zeros([0, 4]), image_sizes[0], original_sizes[0]).shape == (0, 4)


def test_the_two_axes_have_their_own_factor():
    boxes = tf.constant([[1, 2, 3, 4]], tf.float32)
    scaled = box_ops.to_resized_pixels(boxes, tf.constant([20, 50]), tf.constant([10, 5]))
    np.testing.assert_array_equal(scaled, [[2, 20, 6, 40]])


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(16, 1000)] * 2), st.tuples(*[st.integers(1, 16000)] * 2), st.integers(0, 2**31))
def test_there_and_back_is_the_same_box_inside_the_image(image_size, original_size, seed):
    """To original pixels and back costs rounding alone, and no box leaves the image on the way."""
    limit = np.tile(np.float32(image_size), 2)
    boxes = np.random.default_rng(seed).uniform(0, 1, (50, 4)).astype(np.float32) * limit
    boxes = np.concatenate([boxes, [limit], [np.nextafter(limit, np.float32(0))], np.zeros((1, 4), np.float32)])
    sizes = tf.constant(image_size), tf.constant(original_size)
    original = box_ops.to_original_pixels(tf.constant(boxes), *sizes).numpy()
    back = box_ops.to_resized_pixels(original, *sizes).numpy()
    np.testing.assert_allclose(back, boxes, rtol=2.5e-7)
    assert (original >= 0).all() and (original <= np.tile(original_size, 2)).all()
    assert (back >= 0).all() and (back <= limit).all()
    np.testing.assert_array_equal(original[50], np.tile(original_size, 2))
    np.testing.assert_array_equal(back[50], limit)


def test_coding_by_hand():
    reference = tf.constant([0, 0, 10, 20], tf.float32)  # centre (5, 10), 10 high and 20 wide
    box = tf.constant([5, 0, 25, 10], tf.float32)  # centre (15, 5), 20 high and 10 wide
    # ty = (15 - 5) / 10, tx = (5 - 10) / 20, th = log(20 / 10), tw = log(10 / 20)
    deltas = [1, -0.25, math.log(2), -math.log(2)]
    np.testing.assert_allclose(box_ops.encode(box, reference), deltas, rtol=1e-6)
    np.testing.assert_allclose(box_ops.decode(tf.constant(deltas), reference), box, atol=1e-5)


def test_no_delta_is_the_reference_itself():
    boxes = random_boxes(np.random.default_rng(2), 50)
    np.testing.assert_array_equal(box_ops.encode(boxes, boxes), np.zeros([50, 4]))
    np.testing.assert_allclose(box_ops.decode(tf.zeros([50, 4]), boxes), boxes, atol=1e-4)


def test_empty_boxes_encode_to_zeros():
    real, empty, line = [0.0, 0, 10, 10], [0.0, 0, 0, 0], [3.0, 1, 3, 9]
    boxes = tf.constant([empty, real, line, empty, real])
    references = tf.constant([real, empty, real, empty, line])
    np.testing.assert_array_equal(box_ops.encode(boxes, references), np.zeros([5, 4]))
    with tf.GradientTape() as tape:
        tape.watch([boxes, references])
        total = tf.reduce_sum(box_ops.encode(boxes, references))
    for gradient in tape.gradient(total, [boxes, references]):
        assert np.all(np.isfinite(gradient))


def test_growth_is_limited():
    # At most 1000/16 times: 16 px become 1000 px around the centre 8, however large the delta.
    decoded = box_ops.decode(tf.constant([0, 0, 5.0, 1e9]), tf.constant([0, 0, 16, 16.0]))
    np.testing.assert_allclose(decoded, [8 - 500, 8 - 500, 8 + 500, 8 + 500], rtol=1e-5)
    np.testing.assert_allclose(math.exp(box_ops.MAX_LOG_SCALE), 62.5)


coordinate = st.floats(0, 500, width=32)
side = st.floats(16, 500, width=32)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@settings(max_examples=50, deadline=None)
@given(box, box)
def test_decode_is_the_inverse_of_encode(corners, reference):
    corners, reference = tf.constant(corners), tf.constant(reference)
    deltas = box_ops.encode(corners, reference)
    np.testing.assert_allclose(deltas, encode_oracle(corners, reference), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(box_ops.decode(deltas, reference), corners, atol=5e-3)


def test_coding_equals_the_official_one():
    rng = np.random.default_rng(3)
    boxes, references = (tf.constant(random_boxes(rng, 2, 40)) for _ in range(2))
    encoded = box_ops.encode(boxes, references)
    np.testing.assert_allclose(encoded, official_box_ops.encode_boxes(boxes, references), rtol=1e-5, atol=1e-6)
    deltas = tf.constant(rng.normal(0, 2, (2, 40, 4)), tf.float32)  # some of them over the limit of growth
    assert np.any(deltas[..., 2:] > box_ops.MAX_LOG_SCALE)
    decoded = official_box_ops.decode_boxes(deltas, references)
    np.testing.assert_allclose(box_ops.decode(deltas, references), decoded, rtol=1e-5, atol=1e-2)


def test_everything_is_float32():
    boxes = tf.constant([[[1, 2, 3, 4]]], tf.float32)
    for result in (
        box_ops.snap(boxes),
        box_ops.area(boxes),
        box_ops.pairwise_iou(boxes, boxes),
        box_ops.clip(boxes, tf.constant([[50, 60]])),
        box_ops.flip_horizontally(boxes, tf.constant(60)),
        box_ops.to_original_pixels(boxes, tf.constant([[50, 60]]), tf.constant([[25, 30]])),
        box_ops.to_resized_pixels(boxes, tf.constant([[50, 60]]), tf.constant([[25, 30]])),
        box_ops.encode(boxes, boxes),
        box_ops.decode(boxes, boxes),
    ):
        assert result.dtype == tf.float32
