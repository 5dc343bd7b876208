"""RoI pooling: aligned samples on a ramp, a float64 oracle, borders, padding and gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.network.roi_pooling import crop, roi_pool, roi_pool_by_products

both_forms = pytest.mark.parametrize("pool", [roi_pool, roi_pool_by_products])


def ramp(height=5, width=5):
    """Features (1, h, w, 1) whose cells hold 5 times their row plus their column."""
    rows, columns = np.mgrid[:height, :width]
    return tf.constant((rows * 5 + columns)[None, ..., None], tf.float32)


def crop_oracle(features, box, cells, crop_size, stride):
    """Bilinear samples of one box on (h, w, c) features, in float64, at the bin centres; border cells are repeated."""
    features, (y0, x0, y1, x1) = np.float64(features), np.float64(box) / stride
    result = np.zeros([crop_size, crop_size, features.shape[-1]])
    for i in range(crop_size):
        for j in range(crop_size):
            y = np.clip(y0 + (i + 0.5) * (y1 - y0) / crop_size - 0.5, 0, cells[0] - 1)
            x = np.clip(x0 + (j + 0.5) * (x1 - x0) / crop_size - 0.5, 0, cells[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, cells[0] - 1), min(left + 1, cells[1] - 1)
            y, x = y - top, x - left
            result[i, j] = (1 - y) * ((1 - x) * features[top, left] + x * features[top, right])
            result[i, j] += y * ((1 - x) * features[bottom, left] + x * features[bottom, right])
    return result


def test_the_ramp_is_sampled_at_the_centres_of_the_bins():
    box = tf.constant([[1, 1, 3, 3]], tf.float32)
    # Four bins of half a cell have their centres at 1.25, 1.75, 2.25, 2.75.  The centre of cell 0 is at 0.5, so the
    # centres are at 0.75, 1.25, 1.75, 2.25 in cells.  Row 0 is 5 * 0.75 plus each of these.
    aligned = crop(ramp(), box[None], tf.constant([[5, 5]]), 4, 1)
    assert aligned.shape == (1, 1, 4, 4, 1) and aligned.dtype == tf.float32
    np.testing.assert_allclose(aligned[0, 0, 0, :, 0], [4.5, 5, 5.5, 6], rtol=1e-5)
    np.testing.assert_allclose(aligned[0, 0, :, 0, 0], [4.5, 7, 9.5, 12], rtol=1e-5)
    # crop_and_resize samples from corner to corner, half a cell and half a bin away: 5 * 1 plus 1, 1.67, 2.33, 3.
    bare = tf.image.crop_and_resize(ramp(), box / 4, [0], [4, 4])
    np.testing.assert_allclose(bare[0, 0, :, 0], [6, 6.67, 7.33, 8], atol=0.005)


@both_forms
def test_pooling_by_hand(pool):
    pooled = pool(ramp(), tf.constant([[[1, 1, 3, 3]]], tf.float32), tf.constant([[5, 5]]), 2, 1)
    # The samples are 5 y + x at y, x in 0.75, 1.25 | 1.75, 2.25.  The last of each 2x2 samples is the largest.
    expected = [[5 * 1.25 + 1.25, 5 * 1.25 + 2.25], [5 * 2.25 + 1.25, 5 * 2.25 + 2.25]]
    assert pooled.shape == (1, 1, 2, 2, 1) and pooled.dtype == tf.float32
    np.testing.assert_allclose(pooled[0, 0, :, :, 0], expected, rtol=1e-5)
    # On the negative ramp the first is the largest: pooling takes the maximum, not a fixed position.
    pooled = pool(-ramp(), tf.constant([[[1, 1, 3, 3]]], tf.float32), tf.constant([[5, 5]]), 2, 1)
    expected = [[5 * 0.75 + 0.75, 5 * 0.75 + 1.75], [5 * 1.75 + 0.75, 5 * 1.75 + 1.75]]
    np.testing.assert_allclose(-pooled[0, 0, :, :, 0], expected, rtol=1e-5)


def test_stride():
    boxes = tf.constant([[[1, 1, 3, 3]]], tf.float32)
    one = crop(ramp(), boxes, tf.constant([[5, 5]]), 4, 1)
    np.testing.assert_allclose(crop(ramp(), boxes * 16, tf.constant([[80, 80]]), 4, 16), one, rtol=1e-5)


def test_border_cells_are_repeated():
    # The whole image in 10 x 10 bins of half a cell.  The first centre is at 0.25, before the centre of cell 0 at 0.5.
    samples = crop(ramp(), tf.constant([[[0, 0, 5, 5]]], tf.float32), tf.constant([[5, 5]]), 10, 1)[0, 0, :, :, 0]
    np.testing.assert_allclose(samples[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4], atol=1e-5)
    np.testing.assert_allclose(samples[9], samples[0] + 20, rtol=1e-5)


def boxes_in(rng, sizes, count):
    """Boxes inside each image: random ones, the whole image, boxes in its corners and an empty box."""
    result = []
    for height, width in sizes:
        corners = np.sort(rng.uniform(0, 1, (count - 5, 2, 2)), axis=1) * [height, width]
        special = [
            [0, 0, height, width],
            [0, 0, 8, 8],
            [height - 3, width - 3, height, width],
            [height - 20, 0, height, 9],
            [0, 0, 0, 0],
        ]
        result.append(np.concatenate([corners.reshape(-1, 4), special]))
    return np.float32(result)


SIZES = [[95, 127], [64, 81]]  # not multiples of 16: 5 x 7 cells, 4 x 5 cells


@pytest.mark.parametrize("crop_size", [2, 6, 14])
def test_samples_equal_the_oracle(crop_size):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    boxes = boxes_in(rng, SIZES, 12)
    samples = crop(tf.constant(features), tf.constant(boxes), tf.constant(SIZES), crop_size, 16)
    for image, cells in enumerate([(5, 7), (4, 5)]):
        for row in range(12):
            expected = crop_oracle(features[image], boxes[image, row], cells, crop_size, 16)
            np.testing.assert_allclose(samples[image, row], expected, atol=2e-5)


def test_pooling_is_the_maximum_of_two_by_two_samples():
    rng = np.random.default_rng(1)
    features, boxes = tf.constant(rng.normal(size=(2, 5, 7, 3)), tf.float32), tf.constant(boxes_in(rng, SIZES, 9))
    samples = crop(features, boxes, tf.constant(SIZES), 14, 16).numpy()
    pooled = roi_pool(features, boxes, tf.constant(SIZES), 7, 16)
    np.testing.assert_array_equal(pooled, samples.reshape(2, 9, 7, 2, 7, 2, 3).max(axis=(3, 5)))


@st.composite
def padded_features_and_boxes(draw):
    """Features (2, h, w, 3), the sizes of their two images, and boxes: random, at the border, or without area."""
    cells = [draw(st.tuples(st.integers(1, 6), st.integers(1, 6))) for _ in range(2)]
    sizes = np.array([[16 * side + draw(st.integers(0, 15)) for side in image] for image in cells])
    features = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(2, *np.max(cells, axis=0), 3))
    shares = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32))
    pairs = st.lists(shares, min_size=2, max_size=2).map(sorted)  # both may be equal
    boxes = [[draw(st.tuples(pairs, pairs)) for _ in range(4)] for _ in range(2)]
    return features, np.swapaxes(boxes, 2, 3).reshape(2, 4, 4) * np.tile(sizes, 2)[:, None], sizes


@settings(deadline=None, max_examples=40)
@given(padded_features_and_boxes(), st.integers(1, 4))
def test_the_form_of_products_equals_crop_and_resize(case, pool_size):
    features, boxes, sizes = case
    case = tf.constant(features, tf.float32), tf.constant(boxes, tf.float32), tf.constant(sizes, tf.int32)
    expected = roi_pool(*case, pool_size, 16)
    np.testing.assert_allclose(roi_pool_by_products(*case, pool_size, 16), expected, atol=2e-5)


def test_the_form_of_products_equals_the_oracle():
    rng = np.random.default_rng(7)
    features, boxes = rng.normal(size=(2, 5, 7, 3)).astype(np.float32), boxes_in(rng, SIZES, 12)
    pooled = roi_pool_by_products(tf.constant(features), tf.constant(boxes), tf.constant(SIZES), 7, 16)
    for image, cells in enumerate([(5, 7), (4, 5)]):
        for row in range(12):
            samples = crop_oracle(features[image], boxes[image, row], cells, 14, 16)
            expected = samples.reshape(7, 2, 7, 2, 3).max(axis=(1, 3))
            np.testing.assert_allclose(pooled[image, row], expected, atol=2e-5)


@both_forms
def test_padding_is_never_read(pool):
    rng = np.random.default_rng(2)
    boxes, sizes = tf.constant(boxes_in(rng, [[95, 47]], 30)), tf.constant([[95, 47]])  # 5 x 2 cells
    features = rng.normal(size=(1, 8, 9, 2)).astype(np.float32)
    clean = np.zeros_like(features)
    clean[:, :5, :2] = features[:, :5, :2]
    expected = pool(tf.constant(clean), boxes, sizes, 7, 16)
    for garbage in (1e9, -1e9, np.nan):
        dirty = np.full_like(features, garbage)
        dirty[:, :5, :2] = features[:, :5, :2]
        np.testing.assert_array_equal(pool(tf.constant(dirty), boxes, sizes, 7, 16), expected)
    # Without padding, only the rounding of the coordinates differs.
    bare = pool(tf.constant(features[:, :5, :2]), boxes, sizes, 7, 16)
    np.testing.assert_allclose(bare, expected, atol=2e-5)


@both_forms
def test_each_image_is_pooled_from_its_own_features(pool):
    rng = np.random.default_rng(3)
    features, boxes = tf.constant(rng.normal(size=(2, 5, 7, 3)), tf.float32), tf.constant(boxes_in(rng, SIZES, 8))
    together = pool(features, boxes, tf.constant(SIZES), 3, 16)
    for i in range(2):
        alone = pool(features[i : i + 1], boxes[i : i + 1], tf.constant(SIZES[i : i + 1]), 3, 16)
        np.testing.assert_array_equal(together[i], alone[0])


@both_forms
def test_no_boxes(pool):
    assert pool(tf.zeros([2, 5, 7, 3]), tf.zeros([2, 0, 4]), tf.constant(SIZES), 7, 16).shape == (2, 0, 7, 7, 3)


@both_forms
def test_an_image_of_less_than_a_cell(pool):
    # 10 x 100 pixels have no complete row of cells.  The only row of the features is read.
    features = ramp(1, 6)
    pooled = pool(features, tf.constant([[[0, 0, 10, 100]]], tf.float32), tf.constant([[10, 100]]), 2, 16)
    assert np.all(np.isfinite(pooled)) and np.all(pooled >= 0) and np.all(pooled <= 5)


@both_forms
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, pool):
    rng = np.random.default_rng(4)
    features = tf.cast(tf.constant(rng.normal(size=(2, 5, 7, 3)), tf.float32), dtype)
    boxes = tf.constant(boxes_in(rng, SIZES, 8))
    pooled = pool(features, boxes, tf.constant(SIZES), 3, 16)
    assert pooled.dtype == tf.float32
    np.testing.assert_array_equal(pooled, pool(tf.cast(features, tf.float32), boxes, tf.constant(SIZES), 3, 16))


def test_the_gradient_of_an_average_adds_up_to_one():
    rng = np.random.default_rng(5)
    features, boxes = tf.constant(rng.normal(size=(2, 5, 7, 1)), tf.float32), tf.constant(boxes_in(rng, SIZES, 8))
    for pool, size in ((crop, 6), (roi_pool, 3)):
        with tf.GradientTape() as tape:
            tape.watch(features)
            average = tf.reduce_mean(pool(features, boxes, tf.constant(SIZES), size, 16))
        gradient = tape.gradient(average, features).numpy()
        np.testing.assert_allclose(gradient.sum(axis=(1, 2, 3)), [0.5, 0.5], rtol=1e-4)
        assert not np.any(gradient[1, 4:]) and not np.any(gradient[1, :, 5:])  # padding of the second image


def test_the_gradient_is_the_slope():
    rng = np.random.default_rng(6)
    features = tf.constant(rng.normal(size=(1, 3, 4, 1)), tf.float32)
    boxes = tf.constant([[[3, 5, 40, 50], [0, 0, 48, 64], [20, 30, 30, 64]]], tf.float32)
    weights = tf.constant(rng.normal(size=(1, 3, 2, 2, 1)), tf.float32)

    def value(x):
        return tf.reduce_sum(weights * roi_pool(x, boxes, tf.constant([[48, 64]]), 2, 16))

    with tf.GradientTape() as tape:
        tape.watch(features)
        total = value(features)
    gradient = tape.gradient(total, features).numpy()
    assert np.count_nonzero(gradient) > 4
    step = 1e-2  # small enough that the largest sample of each bin stays the largest
    for index in np.ndindex(3, 4):
        change = np.zeros([1, 3, 4, 1], np.float32)
        change[0, index[0], index[1], 0] = step
        slope = (value(features + change) - value(features - change)) / (2 * step)
        np.testing.assert_allclose(gradient[0, index[0], index[1], 0], slope, atol=2e-3)


def test_the_gradient_is_the_transposed_interpolation_and_always_the_same():
    """<crop(f), u> is linear in f, so its gradient g satisfies <g, f> = <crop(f), u>.  Many boxes share cells."""
    rng = np.random.default_rng(5)
    features = tf.constant(rng.normal(size=(2, 12, 16, 8)), tf.float32)
    top_left = rng.uniform(0, 100, (2, 64, 2))
    boxes = tf.constant(np.concatenate([top_left, top_left + rng.uniform(20, 90, (2, 64, 2))], axis=-1), tf.float32)
    sizes = tf.constant([[192, 256], [192, 256]])
    upstream = tf.constant(rng.normal(size=(2, 64, 14, 14, 8)), tf.float32)
    gradients = []
    for _ in range(5):
        with tf.GradientTape() as tape:
            tape.watch(features)
            value = tf.reduce_sum(crop(features, boxes, sizes, 14, 16) * upstream)
        gradients.append(tape.gradient(value, features).numpy())
    assert all((gradient == gradients[0]).all() for gradient in gradients)
    np.testing.assert_allclose(np.sum(gradients[0].astype(np.float64) * features), value, rtol=1e-4)
    one_cell = np.zeros(features.shape, np.float32)
    one_cell[1, 5, 6, 3] = 1.0
    expected = np.sum(crop(tf.constant(one_cell), boxes, sizes, 14, 16).numpy().astype(np.float64) * upstream)
    np.testing.assert_allclose(gradients[0][1, 5, 6, 3], expected, rtol=1e-4)
