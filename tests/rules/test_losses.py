"""Losses: values by hand, gradients of what counts and of what does not, and a float64 oracle."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.facts.structures import HeadOutput, RoITargets, RPNOutput, RPNTargets
from keras_frcnn.rules.losses import head_loss_sums, rpn_loss_sums, smooth_l1


@pytest.mark.parametrize(
    ("sigma", "differences", "expected"),
    [
        # Squared under 1, linear from there on: 0.5 x^2, then |x| - 0.5.
        (1.0, [0, 0.5, -0.5, 1, -1, 2, -3], [0, 0.125, 0.125, 0.5, 0.5, 1.5, 2.5]),
        # Squared under 1/9: 4.5 x^2, then |x| - 1/18.
        (3.0, [0, 0.1, -0.1, 1 / 9, -1 / 9, 0.5, -1], [0, 0.045, 0.045, 1 / 18, 1 / 18, 4 / 9, 17 / 18]),
    ],
)
def test_smooth_l1_by_hand(sigma, differences, expected):
    np.testing.assert_allclose(smooth_l1(tf.constant(differences, tf.float32), sigma), expected, rtol=1e-6)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_smooth_l1_joins_smoothly(sigma):
    join = 1 / sigma**2
    x = tf.constant([0, join * 0.5, join * 0.9999, join, join * 1.0001, join * 3, -join * 0.5, -join * 3], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = smooth_l1(x, sigma)
    np.testing.assert_allclose(loss[2:5], [join / 2] * 3, rtol=1e-3)
    # The slope is sigma^2 x and then 1.
    np.testing.assert_allclose(tape.gradient(loss, x), [0, 0.5, 0.9999, 1, 1, 1, -0.5, -1], rtol=1e-5)


# --- the region proposal network


def rpn_case():
    """Two images of three anchors: sampled are two of the first and one of the second."""
    output = RPNOutput(
        logits=tf.constant([[[0, 0], [0, math.log(3)], [5, -5]], [[math.log(4), 0], [9, 9], [7, 1]]], tf.float32),
        deltas=tf.constant(
            [[[0.5, 0, 0, -2], [1, 1, 1, 1], [3, 3, 3, 3]], [[1, 2, 3, 4], [0, 0, 0, 0], [1, 1, 1, 1]]], tf.float32
        ),
    )
    targets = RPNTargets(
        labels=tf.constant([[1, 0, -1], [0, -1, -1]]),
        deltas=tf.constant([[[0, 0, 1, 0], [0] * 4, [0] * 4], [[0] * 4] * 3], tf.float32),
    )
    return output, targets


def test_rpn_losses_by_hand():
    sums, count = rpn_loss_sums(*rpn_case(), box_loss_weight=10.0, sigma=1.0)
    # -log 1/2 of the first anchor, -log 1/4 of the second, -log 4/5 of the fourth; the others are ignored.
    np.testing.assert_allclose(sums["rpn_class"], math.log(2) + math.log(4) + math.log(5 / 4), rtol=1e-6)
    # The only positive: differences 0.5, 0, -1, -2, losses 0.125, 0, 0.5, 1.5.
    np.testing.assert_allclose(sums["rpn_box"], 10 * 2.125, rtol=1e-6)
    assert count == 3 and count.dtype == tf.float32
    assert set(sums) == {"rpn_class", "rpn_box"}


def test_rpn_sigma():
    sums, _ = rpn_loss_sums(*rpn_case(), box_loss_weight=1.0, sigma=3.0)
    np.testing.assert_allclose(sums["rpn_box"], 0.5 + 0 + 1 + 2 - 3 / 18, rtol=1e-6)


def test_rpn_ignored_anchors_have_no_part():
    output, targets = rpn_case()
    with tf.GradientTape() as tape:
        tape.watch(output)
        sums, _ = rpn_loss_sums(output, targets, 1.0, 3.0)
        total = tf.add_n(list(sums.values()))
    gradients = tape.gradient(total, output)
    moved = [np.any(gradient != 0, axis=-1).tolist() for gradient in gradients]
    assert moved[0] == [[True, True, False], [True, False, False]]
    assert moved[1] == [[True, False, False], [False] * 3]
    # Nor does what they say change the value.
    ignored = (targets.labels < 0)[..., None]
    other = RPNOutput(*(tf.where(ignored, values + 3, values) for values in output))
    for name, value in rpn_loss_sums(other, targets, 1.0, 3.0)[0].items():
        assert value == sums[name]


def test_rpn_nothing_sampled():
    output, targets = rpn_case()
    targets = RPNTargets(labels=tf.fill([2, 3], -1), deltas=targets.deltas)
    with tf.GradientTape() as tape:
        tape.watch(output)
        sums, count = rpn_loss_sums(output, targets, 1.0, 3.0)
        total = tf.add_n(list(sums.values()))
    assert total == 0 and count == 0
    for gradient in tape.gradient(total, output):
        assert not np.any(gradient)


# --- the detector


def head_case():
    """One image of four RoIs and three classes: foreground, background, foreground, not valid."""
    deltas = np.zeros([1, 4, 3, 4], np.float32)
    deltas[0, 0, 2] = [0.5, 0, 0, -2]
    deltas[0, 0, 1] = deltas[0, 1] = deltas[0, 3] = 7  # other classes, background and padding
    deltas[0, 2, 1] = [0, 0, 0, 1]
    output = HeadOutput(
        logits=tf.constant([[[0, 0, 0], [math.log(2), 0, 0], [0, math.log(3), 0], [1, 2, 3]]], tf.float32),
        deltas=tf.constant(deltas),
    )
    targets = RoITargets(
        boxes=tf.zeros([1, 4, 4]),
        classes=tf.constant([[2, 0, 1, 0]]),
        deltas=tf.constant([[[0, 0, 1, 0], [0] * 4, [0] * 4, [0] * 4]], tf.float32),
        valid=tf.constant([[True, True, True, False]]),
    )
    return output, targets


def test_head_losses_by_hand():
    sums, count = head_loss_sums(*head_case(), box_loss_weight=2.0, sigma=1.0)
    # -log 1/3, -log 2/4, -log 3/5
    np.testing.assert_allclose(sums["head_class"], math.log(3) + math.log(2) + math.log(5 / 3), rtol=1e-6)
    # Differences 0.5, 0, -1, -2 of the first RoI as class 2; 0, 0, 0, 1 of the third as class 1.
    np.testing.assert_allclose(sums["head_box"], 2 * (0.125 + 0.5 + 1.5 + 0.5), rtol=1e-6)
    assert count == 3 and count.dtype == tf.float32
    assert set(sums) == {"head_class", "head_box"}


def test_only_the_true_class_is_trained():
    output, targets = head_case()
    with tf.GradientTape() as tape:
        tape.watch(output)
        sums, _ = head_loss_sums(output, targets, 1.0, 1.0)
        total = tf.add_n(list(sums.values()))
    logits, deltas = (tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(total, output))
    assert np.any(logits != 0, axis=-1).tolist() == [[True, True, True, False]]
    assert np.argwhere(np.any(deltas != 0, axis=-1)).tolist() == [[0, 0, 2], [0, 2, 1]]
    # The slope of 0.5 x^2 is x, that of the linear part 1.
    np.testing.assert_allclose(deltas[0, 0, 2], [0.5, 0, -1, -1])


def test_an_invalid_roi_has_no_part_whatever_its_class():
    output, targets = head_case()
    wrong = targets._replace(
        classes=tf.constant([[2, 0, 1, 2]]),
        deltas=tf.where(targets.valid[..., None], targets.deltas, 5.0),
    )
    sums, count = head_loss_sums(output, targets, 1.0, 1.0)
    sums_wrong, count_wrong = head_loss_sums(output, wrong, 1.0, 1.0)
    assert sums == sums_wrong and count == count_wrong


# --- oracle


def log_loss_oracle(logits, labels):
    logits = np.float64(logits)
    peak = logits.max(axis=-1, keepdims=True)
    log_sum = peak[..., 0] + np.log(np.exp(logits - peak).sum(axis=-1))
    return log_sum - np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]


def smooth_l1_oracle(difference, sigma):
    size = np.abs(np.float64(difference))
    return np.where(size < 1 / sigma**2, 0.5 * (sigma * size) ** 2, size - 0.5 / sigma**2)


def random_rpn(rng):
    labels = rng.integers(-1, 2, (2, 50))
    output = RPNOutput(*(tf.constant(rng.normal(0, 2, (2, 50, n)), tf.float32) for n in (2, 4)))
    deltas = np.where(labels[..., None] == 1, rng.normal(0, 1, (2, 50, 4)), 0)
    return output, RPNTargets(tf.constant(labels, tf.int32), tf.constant(deltas, tf.float32))


def random_head(rng):
    valid = rng.random((2, 40)) < 0.8
    classes = np.where(valid, rng.integers(0, 5, (2, 40)), 0)
    output = HeadOutput(*(tf.constant(rng.normal(0, 2, (2, 40, *n)), tf.float32) for n in ((5,), (5, 4))))
    deltas = np.where(classes[..., None] > 0, rng.normal(0, 1, (2, 40, 4)), 0)
    return output, RoITargets(
        tf.zeros([2, 40, 4]), tf.constant(classes, tf.int32), tf.constant(deltas, tf.float32), tf.constant(valid)
    )


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_losses_equal_the_oracle(sigma):
    rng = np.random.default_rng(0)
    output, targets = random_rpn(rng)
    labels = targets.labels.numpy()
    sums, count = rpn_loss_sums(output, targets, 0.7, sigma)
    class_losses = log_loss_oracle(output.logits, np.maximum(labels, 0))
    box_losses = smooth_l1_oracle(np.float64(output.deltas) - targets.deltas, sigma).sum(axis=-1)
    np.testing.assert_allclose(sums["rpn_class"], class_losses[labels >= 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["rpn_box"], 0.7 * box_losses[labels == 1].sum(), rtol=1e-5)
    assert count == np.count_nonzero(labels >= 0)

    output, targets = random_head(rng)
    classes, valid = targets.classes.numpy(), targets.valid.numpy()
    sums, count = head_loss_sums(output, targets, 0.7, sigma)
    class_losses = log_loss_oracle(output.logits, classes)
    own = np.take_along_axis(output.deltas.numpy(), classes[..., None, None], axis=2)[:, :, 0]
    box_losses = smooth_l1_oracle(np.float64(own) - targets.deltas, sigma).sum(axis=-1)
    np.testing.assert_allclose(sums["head_class"], class_losses[valid].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["head_box"], 0.7 * box_losses[valid & (classes > 0)].sum(), rtol=1e-5)
    assert count == np.count_nonzero(valid)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    rng = np.random.default_rng(1)
    for (output, targets), loss_sums in ((random_rpn(rng), rpn_loss_sums), (random_head(rng), head_loss_sums)):
        half = type(output)(*(tf.cast(values, dtype) for values in output))
        rounded = type(output)(*(tf.cast(values, tf.float32) for values in half))
        sums, _ = loss_sums(half, targets, 1.0, 1.0)
        expected, _ = loss_sums(rounded, targets, 1.0, 1.0)
        for name, value in sums.items():
            assert value.dtype == tf.float32
            assert value == expected[name]


def test_sums_add_up_over_the_images():
    output, targets = random_rpn(np.random.default_rng(2))
    whole, count = rpn_loss_sums(output, targets, 1.0, 3.0)
    parts = []
    for i in range(2):
        row = slice(i, i + 1)
        one_output, one_targets = (type(part)(*(field[row] for field in part)) for part in (output, targets))
        parts.append(rpn_loss_sums(one_output, one_targets, 1.0, 3.0))
    for name, value in whole.items():
        np.testing.assert_allclose(value, parts[0][0][name] + parts[1][0][name], rtol=1e-6)
    assert count == parts[0][1] + parts[1][1]
