"""The statements of docs/kernels.md about TensorFlow's kernels, on each device, against numpy or the CPU.

    make test-gpu

runs these tests on a GPU.  An ordinary test run runs their CPU variants, so that the tests themselves stay correct.
"""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.data.pictures import images
from keras_frcnn.facts.structures import GroundTruth, HeadOutput, Proposals, RoITargets, RPNOutput, RPNTargets
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness
from keras_frcnn.geometry.anchors import tile_anchors
from keras_frcnn.network.roi_pooling import roi_pool, roi_pool_by_products
from keras_frcnn.rules import targets
from keras_frcnn.rules.detections import make_detections
from keras_frcnn.rules.losses import head_loss_sums, rpn_loss_sums
from keras_frcnn.rules.proposals import make_proposals
from keras_frcnn.rules.suppression import suppress

NAN, INF = float("nan"), float("inf")


def on_cpu(function, *arguments, **options):
    """Call `function` on copies of the arguments that are on the CPU."""
    with tf.device("/CPU:0"):
        return function(*tf.nest.map_structure(tf.identity, arguments), **options)


def random_boxes(rng, *shape):
    top_left = rng.uniform(0, 60, (*shape, 2))
    return np.concatenate([top_left, top_left + rng.uniform(10, 40, (*shape, 2))], axis=-1).astype(np.float32)


def nms_oracle(boxes, scores, usable, count, iou_threshold):
    """Return the indices of the kept boxes, best first, computed in float64."""
    kept, boxes = [], np.float64(boxes)
    for i in sorted(np.flatnonzero(usable), key=lambda i: -scores[i]):
        sides = [np.clip(np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2]), 0, None)
                 for j in kept]  # fmt: skip
        areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, *kept)]
        overlaps = [np.prod(s) / (areas[0] + a - np.prod(s)) for s, a in zip(sides, areas[1:], strict=True)]
        if len(kept) < count and all(overlap <= iou_threshold for overlap in overlaps):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("number", [0, 1, 33, 700])
@pytest.mark.parametrize("count", [1, 20, 1000])
def test_suppress_keeps_usable_boxes_only(device, number, count):
    rng = np.random.default_rng(number)
    boxes, scores = random_boxes(rng, number), np.linspace(0.1, 0.9, number, dtype=np.float32)[::-1].copy()
    usable = rng.random(number) < 0.6
    for i in np.flatnonzero(~usable)[::2]:  # these boxes are valid but have a NaN or infinite corner
        boxes[i, rng.integers(4)] = rng.choice([NAN, INF, -INF])
    expected = nms_oracle(boxes, scores, usable, count, 0.5)
    valid = usable | ~np.all(np.isfinite(boxes), axis=-1)
    indices, kept = suppress(tf.constant(boxes), tf.constant(scores), tf.constant(valid), count, 0.5)
    assert indices.shape == kept.shape == (count,)
    assert kept.numpy().tolist() == [True] * len(expected) + [False] * (count - len(expected))
    assert indices.numpy()[kept.numpy()].tolist() == expected
    assert np.all((indices.numpy() >= 0) & (indices.numpy() < max(number, 1)))


def test_the_nms_kernel_runs_on_the_device(device):
    indices, number = tf.raw_ops.NonMaxSuppressionV4(
        boxes=tf.constant([[0.0, 0, 1, 1], [2, 2, 3, 3]]), scores=tf.constant([0.0, 1.0]), max_output_size=3,
        iou_threshold=0.5, score_threshold=0.5, pad_to_max_output_size=True,
    )  # fmt: skip
    assert f"{device}:0" in indices.device
    assert int(number) == 1 and int(indices[0]) == 1


def test_nothing_valid_keeps_nothing(device):
    boxes, nothing = tf.constant(random_boxes(np.random.default_rng(0), 50)), tf.zeros(50, tf.bool)
    for scores in (tf.ones(50), tf.fill(50, NAN)):
        indices, kept = suppress(boxes, scores, nothing, 300, 0.7)
        assert not np.any(kept) and np.all((indices.numpy() >= 0) & (indices.numpy() < 50))


@pytest.mark.parametrize("pre_nms_topk", [0, 40])
def test_proposals_hold_valid_boxes_only(device, pre_nms_topk):
    rng = np.random.default_rng(1)
    anchors = tile_anchors([24.0, 48.0], [0.5, 1.0, 2.0], 5, 6, 16)
    count = len(anchors)
    scores = rng.permutation(np.linspace(-3, 3, count))  # so far apart that rounding does not reorder them
    logits = np.stack([np.zeros(count), scores], axis=-1)[None].astype(np.float32)
    deltas = rng.normal(0, 0.3, (1, count, 4)).astype(np.float32)
    deltas[0, :40][np.arange(40), rng.integers(0, 4, 40)] = NAN
    logits[0, 40:60] = NAN
    candidates = rng.random((1, count)) < 0.8
    arguments = RPNOutput(tf.constant(logits), tf.constant(deltas)), anchors, candidates, tf.constant([[80, 96]])
    options = {"min_size": 8.0, "pre_nms_topk": pre_nms_topk, "post_nms_topk": 200, "iou_threshold": 0.7}
    result, expected = make_proposals(*arguments, **options), on_cpu(make_proposals, *arguments, **options)
    assert 5 < np.sum(result.valid) < count - 60
    np.testing.assert_array_equal(result.valid, expected.valid)
    np.testing.assert_allclose(result.boxes, expected.boxes, atol=1e-4)
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)
    assert np.all(np.isfinite(result.boxes)) and not np.any(result.boxes[~result.valid])


@pytest.mark.parametrize("number", [0, 30])
def test_detections_hold_valid_boxes_only(device, number):
    rng = np.random.default_rng(2)
    logits = rng.permutation(np.linspace(-2, 2, number * 3)).reshape(1, number, 3).astype(np.float32)
    deltas = rng.normal(0, 1, (1, number, 3, 4)).astype(np.float32)
    deltas[0, :10, 1:, 2] = NAN
    proposals = Proposals(
        tf.constant(random_boxes(rng, 1, number)), tf.zeros([1, number]), tf.constant(rng.random((1, number)) < 0.8)
    )
    arguments = HeadOutput(tf.constant(logits), tf.constant(deltas)), proposals, tf.constant([[100, 100]])
    options = {
        "delta_std": (0.1, 0.1, 0.2, 0.2), "score_threshold": 0.3, "iou_threshold": 0.3, "max_detections": 100
    }  # fmt: skip
    result, expected = make_detections(*arguments, **options), on_cpu(make_detections, *arguments, **options)
    assert (0 < np.sum(result.valid) < 40) if number else not np.any(result.valid)
    np.testing.assert_array_equal(result.valid, expected.valid)
    np.testing.assert_array_equal(result.classes, expected.classes)
    np.testing.assert_allclose(result.boxes, expected.boxes, atol=1e-4)


# TensorFlow's GPU kernel has four algorithms: a full sort, a sort of few columns, a sort for a large k, and a heap.
@pytest.mark.parametrize(("columns", "k"), [(4000, 4000), (300, 20), (4000, 200), (4000, 20)])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_top_k_of_equal_values_takes_the_first(device, columns, k, rows, dtype):
    values = np.random.default_rng(3).integers(-1, 4, (rows, columns)).astype(dtype)
    result, indices = tf.math.top_k(tf.constant(values), k)
    expected = np.argsort(-values, axis=-1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(result, np.take_along_axis(values, expected, axis=-1))
    ascending = tf.argsort(tf.constant(values), axis=-1, stable=True)
    np.testing.assert_array_equal(ascending, np.argsort(values, axis=-1, kind="stable"))


def test_match_of_equal_ious_takes_the_first_object(device):
    ious = np.random.default_rng(4).integers(0, 3, (2, 500, 40)).astype(np.float32) / 2
    best, best_iou = targets.match(tf.constant(ious), tf.ones([2, 40], tf.bool))
    np.testing.assert_array_equal(best, ious.argmax(axis=-1))
    np.testing.assert_array_equal(best_iou, ious.max(axis=-1))


def roi_targets(proposals, ground_truth, seeds):
    return targets.roi_targets(
        proposals, ground_truth, seeds, foreground_iou=0.5, background_iou=0.0, batch_size=16,
        foreground_fraction=0.25, delta_std=(0.1, 0.1, 0.2, 0.2),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "objects"), [(0, 0), (0, 3), (60, 0), (60, 3)])
def test_roi_targets_are_those_of_the_cpu(device, number, objects):
    rng = np.random.default_rng(5)
    truth = random_boxes(rng, 2, objects)
    boxes = np.concatenate([truth + 1.0, random_boxes(rng, 2, number)], axis=1)[:, :number]
    arguments = (
        Proposals(tf.constant(boxes), tf.zeros([2, number]), tf.ones([2, number], tf.bool)),
        GroundTruth(tf.constant(truth), tf.ones([2, objects], tf.int32), tf.ones([2, objects], tf.bool)),
        tf.constant([[1, 2], [3, 4]]),
    )
    result, expected = roi_targets(*arguments), on_cpu(roi_targets, *arguments)
    assert np.sum(result.valid) == 2 * min(number + objects, 16)
    for field in ("boxes", "classes", "valid"):
        np.testing.assert_array_equal(getattr(result, field), getattr(expected, field))
    np.testing.assert_allclose(result.deltas, expected.deltas, atol=1e-5)


def test_ignored_labels_give_no_loss_and_no_gradient(device):
    logits = tf.constant([[[0.0, 0.0], [0.0, 0.0], [5.0, 1.0]]])
    labels, deltas = tf.constant([[1, -1, -1]]), tf.zeros([1, 3, 4])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        sums, count = rpn_loss_sums(RPNOutput(logits, deltas), RPNTargets(labels, deltas), 1.0, 3.0)
    assert float(count) == 1
    np.testing.assert_allclose(sums["rpn_class"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(sums["rpn_class"], logits), [[[0.5, -0.5], [0, 0], [0, 0]]], atol=1e-6)


def test_only_the_true_class_gets_a_gradient_of_the_deltas(device):
    deltas = tf.constant(np.random.default_rng(6).normal(0, 1, (1, 3, 4, 4)), tf.float32)
    roi = RoITargets(tf.zeros([1, 3, 4]), tf.constant([[2, 0, 3]]), tf.zeros([1, 3, 4]), tf.constant([[True] * 3]))
    with tf.GradientTape() as tape:
        tape.watch(deltas)
        sums, _ = head_loss_sums(HeadOutput(tf.zeros([1, 3, 4]), deltas), roi, 1.0, 1.0)
    expected = np.zeros([1, 3, 4, 4], np.float32)
    for row, true_class in ((0, 2), (2, 3)):
        expected[0, row, true_class] = np.clip(deltas[0, row, true_class], -1, 1)
    np.testing.assert_allclose(tape.gradient(sums["head_box"], deltas), expected, rtol=1e-6)


def test_assertions_raise(device):
    @tf.function
    def check(x):
        with tf.control_dependencies([tf.debugging.Assert(x > 2.0, ["too small"])]):
            return tf.identity(x)

    assert float(check(tf.constant(3.0))) == 3.0
    with pytest.raises(tf.errors.InvalidArgumentError):
        check(tf.constant(1.0))


def pooling_inputs(number):
    rng = np.random.default_rng(7)
    features = tf.constant(rng.normal(0, 1, (2, 6, 7, 8)), tf.float32)
    # The first box of each image is the image itself: samples next to the border must not read beyond it.
    boxes = np.concatenate([np.float32([[[0, 0, 96, 112]], [[0, 0, 80, 64]]]), random_boxes(rng, 2, 20)], axis=1)
    sizes = tf.constant([[96, 112], [80, 64]])
    return features, box_ops.clip(tf.constant(boxes[:, :number]), sizes), sizes


@pytest.mark.parametrize("number", [0, 1, 21])
def test_roi_pooling_samples_within_the_image(device, number):
    features, boxes, sizes = pooling_inputs(number)
    expected = on_cpu(roi_pool_by_products, features, boxes, sizes, pool_size=7, stride=16)
    result = roi_pool(features, boxes, sizes, pool_size=7, stride=16)
    assert result.shape == (2, number, 7, 7, 8)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(("on", "tolerance"), [(False, 1e-5), (True, 5e-3)])
def test_the_gradient_of_roi_pooling(device, tensor_float_32, on, tolerance):
    tensor_float_32(on)
    features, boxes, sizes = pooling_inputs(21)

    def gradient(pool, features, boxes, sizes):
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(pool(features, boxes, sizes, 7, 16))
        return tape.gradient(total, features)

    expected = on_cpu(lambda *inputs: gradient(roi_pool_by_products, *inputs), features, boxes, sizes)
    result = gradient(roi_pool, features, boxes, sizes)
    np.testing.assert_allclose(result, expected, atol=tolerance * np.max(np.abs(expected)))


@pytest.mark.parametrize(("on", "tolerance"), [(False, 1e-5), (True, 5e-3)])
def test_convolutions_and_products(device, tensor_float_32, on, tolerance):
    tensor_float_32(on)
    rng = np.random.default_rng(8)
    x, kernel = rng.normal(0, 1, (1, 9, 9, 64)).astype(np.float32), rng.normal(0, 1, (3, 3, 64, 32)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.float64(x), (3, 3), axis=(1, 2))
    expected = np.einsum("bhwcij,ijco->bhwo", windows, np.float64(kernel))
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(tf.nn.conv2d(x, kernel, 1, "VALID"), expected, atol=tolerance * scale)
    product = tf.matmul(x[0, 0], kernel[0, 0])
    np.testing.assert_allclose(product, np.float64(x[0, 0]) @ np.float64(kernel[0, 0]), atol=tolerance * scale)


def test_boxes_agree_with_numpy(device):
    rng = np.random.default_rng(9)
    a, b = random_boxes(rng, 50), random_boxes(rng, 30)
    sides = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None)
    areas = [np.prod(np.float64(x[:, 2:]) - x[:, :2], axis=-1) for x in (a, b)]
    intersection = np.prod(np.float64(sides), axis=-1)
    expected = intersection / (areas[0][:, None] + areas[1][None] - intersection)
    np.testing.assert_allclose(box_ops.pairwise_iou(tf.constant(a), tf.constant(b)), expected, rtol=1e-5, atol=1e-7)
    assert not np.any(box_ops.pairwise_iou(tf.zeros([2, 4]), tf.zeros([3, 4])))
    deltas = box_ops.encode(tf.constant(a), tf.constant(a[::-1].copy()))
    np.testing.assert_allclose(box_ops.decode(deltas, tf.constant(a[::-1].copy())), a, atol=1e-3)
    np.testing.assert_array_equal(tile_anchors([16.0], [1.0], 2, 2, 16), [
        [0, 0, 16, 16], [0, 16, 16, 32], [16, 0, 32, 16], [16, 16, 32, 32]
    ])  # fmt: skip


def test_resizing_has_half_pixel_centres(device):
    image = np.random.default_rng(10).integers(0, 256, (20, 30, 3)).astype(np.float32)

    def weights(size, resized):
        positions = np.clip((np.arange(resized) + 0.5) * size / resized - 0.5, 0, size - 1)
        return np.clip(1 - np.abs(positions[:, None] - np.arange(size)), 0, None)

    expected = np.einsum("yh,xw,hwc->yxc", weights(20, 33), weights(30, 47), image)
    for dtype in (tf.float32, tf.uint8):
        np.testing.assert_allclose(images.resize(tf.cast(image, dtype), [33, 47]), expected, atol=1e-2)


def test_random_numbers_are_those_of_the_cpu(device):
    seeds = tf.constant([[1, 0], [7, -9], [2**31 - 1, -(2**31)]])
    result = randomness.uniform(seeds, randomness.ROI_SAMPLING, [1001])
    expected = on_cpu(randomness.uniform, seeds, purpose=randomness.ROI_SAMPLING, shape=[1001])
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(randomness.uniform(seeds, randomness.ROI_SAMPLING, [10]), result[:, :10])
    # The numbers of TensorFlow's Philox generator for the seed (1, 0).  If they change, runs cannot be repeated.
    np.testing.assert_allclose(result[0, :3], [0.80170417, 0.38222289, 0.44589436], rtol=1e-6)
