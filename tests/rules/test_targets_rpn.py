"""Training targets of the RPN: hand-computed cases, ties between anchors, and independence of padding."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness
from keras_frcnn.geometry.anchors import base_areas, inside_image, tile_anchors
from keras_frcnn.rules.targets import anchor_ious, label_anchors, rpn_targets

RPN = {
    "stride": 16,
    "widest": 70,
    "positive_iou": 0.7,
    "negative_iou": 0.3,
    "batch_size": 256,
    "positive_fraction": 0.5,
}
SEED = tf.constant([[7, 0]])
PAPER = ([128, 256, 512], [0.5, 1, 2])


def targets_of(anchors, size, gt, seeds=((7, 0),), **options):
    """The RPN targets of anchors (h, w, k, 4), or of anchors (A, 4) that all belong to one cell."""
    anchors = tf.reshape(anchors, [1, 1, -1, 4]) if len(anchors.shape) == 2 else anchors
    areas = box_ops.area(anchors[0, 0])
    return rpn_targets(anchors, areas, tf.constant([size]), gt, tf.constant(seeds), **{**RPN, **options})


def anchor_grid(scales, ratios, height, width):
    return tf.reshape(tile_anchors(scales, ratios, height, width, 16), [height, width, -1, 4])


def test_rpn_targets_by_hand(ground_truth):
    gt = ground_truth([[10, 10, 30, 30], [50, 10, 70, 30], [60, 60, 80, 80]], valid=[True, True, False])
    anchors = tf.constant(
        [
            [10, 10, 30, 30],  # the first object itself
            [10, 15, 30, 35],  # 20 x 15 of 400 + 400 - 300: IoU 0.6, between the thresholds
            [50, 20, 70, 40],  # 20 x 10 of 600 with the second object: IoU 1/3, its best
            [60, 60, 80, 80],  # the object that is not valid: negative
            [-5, 10, 15, 30],  # crosses the border
            [50, 10, 70, 100.5],  # crosses the border
        ],
        tf.float32,
    )
    targets = targets_of(anchors, [100, 100], gt)
    assert targets.labels.numpy().tolist() == [[1, -1, 1, 0, -1, -1]]
    assert targets.labels.dtype == tf.int32 and targets.deltas.dtype == tf.float32
    # The centre of the third anchor moves from (60, 30) to (60, 20), and its width is 20: tx = -10 / 20.
    np.testing.assert_allclose(targets.deltas, [[[0] * 4, [0] * 4, [0, -0.5, 0, 0], [0] * 4, [0] * 4, [0] * 4]])


def test_the_delta_leads_to_the_best_object(ground_truth):
    gt = ground_truth([[10, 10, 30, 26], [10, 10, 30, 34]])
    anchors = tf.constant([[10, 10, 30, 30], [60, 60, 80, 80]], tf.float32)
    # The IoU is 16/20 with the first object and 20/24 with the second, which is 24 wide.
    targets = targets_of(anchors, [100, 100], gt)
    np.testing.assert_allclose(targets.deltas[0, 0], [0, 2 / 20, 0, math.log(24 / 20)], rtol=1e-6)


def test_rpn_targets_of_an_image_without_objects(ground_truth):
    anchors = anchor_grid([16, 32], [1], 4, 4)
    for gt in (ground_truth([]), ground_truth([[0, 0, 0, 0]], classes=[0], valid=[False])):
        targets = targets_of(anchors, [64, 64], gt)
        # All anchors inside the image are negatives: the 16 of 16 pixels, and the 4 of 32 pixels in the middle.
        inside = np.all((anchors >= 0) & (anchors <= 64), axis=-1)
        assert np.count_nonzero(inside) == 20
        np.testing.assert_array_equal(targets.labels[0], np.where(inside, 0, -1).ravel())
        np.testing.assert_array_equal(targets.deltas, np.zeros([1, 32, 4]))


@pytest.fixture
def many_anchors(ground_truth):
    """400 anchors, the size of their image, and one object, which has the shape and place of the first anchor."""
    return anchor_grid([16], [1], 20, 20), [320, 320], ground_truth([[0, 0, 16, 16]])


def test_the_rpn_sample_has_the_right_size(many_anchors, ground_truth):
    anchors, size, gt = many_anchors
    labels = targets_of(anchors, size, gt).labels.numpy()
    assert np.count_nonzero(labels == 1) == 1
    assert np.count_nonzero(labels == 0) == 255  # of 399
    # With many objects, at most half of the sample is positive.
    crowd = ground_truth(anchors[:15])
    labels = targets_of(anchors, size, crowd).labels.numpy()
    assert np.count_nonzero(labels == 1) == 128
    assert np.count_nonzero(labels == 0) == 100  # all that there are; positives do not replace them


def test_with_balanced_positives_a_small_object_is_always_sampled(ground_truth):
    """One object with 255 anchors of an IoU over 0.7, and one with a single anchor; room for 2 of 256."""
    anchors = tf.constant([[[[0, 0, 16, 16 + n / 256]] for n in range(255)] + [[[40, 40, 56, 56]]]], tf.float32)
    gt = ground_truth([[0, 0, 16, 16.5], [40, 40, 56, 56]])
    options = {**RPN, "batch_size": 4, "stride": 1, "widest": 256}

    def sampled(seed, balanced):
        areas = tf.constant([256.0])
        targets = rpn_targets(
            anchors, areas, tf.constant([[320, 320]]), gt, tf.constant([[seed, 0]]), **options, balanced=balanced
        )
        return np.flatnonzero(targets.labels[0] == 1)

    assert all(255 in sampled(seed, True) and len(sampled(seed, True)) == 2 for seed in range(10))
    assert len({tuple(sampled(seed, True)) for seed in range(10)}) > 5  # the other one is random
    assert not all(255 in sampled(seed, False) for seed in range(10))


def test_only_sampled_positives_have_deltas(many_anchors, ground_truth):
    anchors, size, _ = many_anchors
    crowd = ground_truth(anchors[:15] + [0, 0, 2.0, 0])
    targets = targets_of(anchors, size, crowd)
    has_delta = np.any(targets.deltas != 0, axis=-1)
    np.testing.assert_array_equal(has_delta, targets.labels == 1)


def test_rpn_sampling_depends_only_on_the_seed(many_anchors, ground_truth, batch_of):
    anchors, size, gt = many_anchors
    one = targets_of(anchors, size, gt)
    again = targets_of(anchors, size, gt)
    np.testing.assert_array_equal(one.labels, again.labels)
    other = targets_of(anchors, size, gt, [[7, 1]])
    assert np.any(one.labels != other.labels)
    # The same image as the third of a batch.
    crowd = ground_truth(anchors[15, :1])
    together = rpn_targets(
        anchors,
        base_areas([16], [1]),
        tf.constant([[100, 320], [200, 200], [320, 320]]),
        batch_of(crowd, crowd, gt),
        tf.constant([[1, 1], [3, 4], [7, 0]]),
        **RPN,
    )
    np.testing.assert_array_equal(together.labels[2], one.labels[0])
    np.testing.assert_array_equal(together.deltas[2], one.deltas[0])


# Ties for the highest IoU (section 3.1.2).


def all_labels(scales, ratios, size, boxes):
    """The labels of all anchors of one image, before sampling: (h, w, k)."""
    height, width = size[0] // 16, size[1] // 16
    anchors = tile_anchors(scales, ratios, height, width, 16)
    gt_boxes = tf.constant(np.reshape(boxes, (1, -1, 4)), tf.float32)
    ious = anchor_ious(anchors, tf.tile(base_areas(scales, ratios), [height * width]), gt_boxes)
    labels = label_anchors(
        ious, tf.ones(gt_boxes.shape[:2], tf.bool), inside_image(anchors, tf.constant([size])), 0.7, 0.3
    )
    return np.reshape(labels, [height, width, -1])


def ious_oracle(scales, ratios, size, box):
    """IoU of one object with all anchors, from section 3.1.1 in float64; -1 for anchors that cross the border."""
    ious = np.zeros([size[0] // 16, size[1] // 16, len(scales) * len(ratios)])
    for (i, j, k), _ in np.ndenumerate(ious):
        scale, ratio = scales[k // len(ratios)], ratios[k % len(ratios)]
        y, x, h, w = 16 * i + 8, 16 * j + 8, scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        y0, x0, y1, x1 = y - h / 2, x - w / 2, y + h / 2, x + w / 2
        if min(y0, x0) < 0 or y1 > size[0] or x1 > size[1]:
            ious[i, j, k] = -1
            continue
        common = max(min(y1, box[2]) - max(y0, box[0]), 0) * max(min(x1, box[3]) - max(x0, box[1]), 0)
        ious[i, j, k] = common / (scale**2 + (box[2] - box[0]) * (box[3] - box[1]) - common)
    return ious


@pytest.mark.parametrize(
    ("y", "x", "count"),
    [
        # The object lies inside anchors of scale 128: 4 x 10 (rows x columns of cells) of ratio 1/2, 6 x 6 of ratio 1,
        # 7 x 4 of ratio 2.  Those of ratio 2 in four more rows cross the border.  All have the same area, so they tie.
        (116, 276, 4 * 10 + 6 * 6 + 7 * 4),
        (290, 490, 4 * 10 + 7 * 6 + 10 * 4),
        (288.5, 480.25, 4 * 10 + 6 * 6 + 10 * 4),
    ],
)
def test_all_anchors_with_the_highest_iou_are_positive(y, x, count, ground_truth):
    box = [y, x, y + 24, x + 24]
    # The sample is large enough for all candidates.
    options = {"batch_size": 10**5, "positive_fraction": 1.0}
    targets = rpn_targets(
        anchor_grid(*PAPER, 37, 62),
        base_areas(*PAPER),
        tf.constant([[600, 1000]]),
        ground_truth(box),
        SEED,
        **{**RPN, **options},
    )
    labels = np.reshape(targets.labels, [37, 62, 9])
    ious = ious_oracle(*PAPER, (600, 1000), box)
    ties = ious >= ious.max() * (1 - 1e-9)
    assert np.count_nonzero(ties) == count
    np.testing.assert_array_equal(labels, np.where(ties, 1, np.where(ious < 0, -1, 0)))


@pytest.mark.parametrize("factor", [1.05, 1.1, 1.3, 1.6, 1.7, 1.875])
def test_resizing_does_not_break_a_tie(factor):
    """Each object lies in the middle between two columns of anchors, and both columns overlap it equally."""
    columns = np.arange(2, 60, 5)
    half = 9 * factor  # at least 9.45 pixels; an anchor reaches 16 pixels to one side of the middle
    boxes = [[16, 16 * column - half, 32, 16 * column + half] for column in columns]
    labels = all_labels([16], [1], (48, 1000), boxes)
    expected = np.zeros([3, 62], bool)
    expected[1, columns - 1] = expected[1, columns] = True
    np.testing.assert_array_equal(labels[:, :, 0] == 1, expected)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([PAPER, ([45, 90], [0.7, 1, 1.4]), ([16, 30, 133], [0.5, 1, 2])]),
    st.tuples(st.integers(4800, 4927), st.integers(4800, 4927)),
    st.tuples(st.integers(8, 3200), st.integers(8, 3200)),
    st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
)
def test_labels_move_with_the_object(shapes, corner, sides, cells):
    """If an object moves by whole cells, the labels move with it.  Corner and sides are in eighths of a pixel."""
    size = (1600, 1600)  # large enough that the best anchors of the object never cross the border
    box = np.float32([*corner, *np.add(corner, sides)]) / 8
    labels = np.roll(all_labels(*shapes, size, box), cells, axis=(0, 1))
    moved = all_labels(*shapes, size, box + np.float32([*cells, *cells]) * 16)
    candidates = all_labels(*shapes, size, []) == 0
    both = candidates & np.roll(candidates, cells, axis=(0, 1))
    assert np.any(labels[both] == 1)
    np.testing.assert_array_equal(moved[both], labels[both])


# Padding.


def test_rpn_targets_of_an_image_do_not_depend_on_padding(ground_truth, batch_of):
    """An anchor beyond an image's own feature cells is ignored, even if it does not cross the border.

    An image of 46 x 79 pixels has 2 x 4 cells.  In a larger batch, the anchor of 8 pixels in the third row spans pixels
    36 to 44.  It lies inside the image, but its cell belongs to the padding of the feature map.
    """
    options = {**RPN, "batch_size": 12}
    sizes = [[40, 75], [46, 79], [64, 112]]
    objects = [ground_truth([[2, 3, 14, 17]]), ground_truth([[34, 64, 46, 79]]), ground_truth([[30, 30, 60, 90]])]
    seeds = [[1, 1], [3, 4], [7, 0]]
    areas = base_areas([8, 16], [0.5, 1])
    anchors = anchor_grid([8, 16], [0.5, 1], 4, 7)
    together = rpn_targets(anchors, areas, tf.constant(sizes), batch_of(*objects), tf.constant(seeds), **options)
    for row, ((height, width), gt, seed) in enumerate(zip(sizes, objects, seeds, strict=True)):
        height, width = height // 16, width // 16
        alone = rpn_targets(
            anchors[:height, :width],
            areas,
            tf.constant(sizes[row : row + 1]),
            gt,
            tf.constant([seed]),
            **options,
        )
        expected_labels, expected_deltas = np.full([4, 7, 4], -1), np.zeros([4, 7, 4, 4])
        expected_labels[:height, :width] = np.reshape(alone.labels, [height, width, 4])
        expected_deltas[:height, :width] = np.reshape(alone.deltas, [height, width, 4, 4])
        np.testing.assert_array_equal(np.reshape(together.labels[row], [4, 7, 4]), expected_labels)
        np.testing.assert_array_equal(np.reshape(together.deltas[row], [4, 7, 4, 4]), expected_deltas)


@pytest.mark.parametrize("seed", [[7, 0], [3, 5]])
def test_rpn_sampling_draws_one_number_for_each_anchor_of_the_widest_grid(seed, ground_truth):
    """The sample holds the negatives with the highest numbers of the random stream of anchors."""
    anchors = anchor_grid([8, 16], [1], 12, 20)
    labels = targets_of(anchors, [192, 320], ground_truth([]), [seed], batch_size=50).labels.numpy()[0]
    drawn = randomness.uniform(tf.constant([seed]), randomness.ANCHOR_SAMPLING, [12, 70, 2]).numpy()[0, :, :20]
    np.testing.assert_array_equal(np.flatnonzero(labels == 0), np.sort(np.argsort(-drawn.ravel())[:50]))


@pytest.mark.parametrize(("shapes", "shares"), [("exact", [True, True, True]), ("released", [False, False, True])])
def test_which_anchors_tie_for_a_tiny_object(shapes, shares, ground_truth):
    """An object inside many anchors: exact shapes have one area, of the released ones ratio 2 has the smallest."""
    scales, ratios = (32.0,), (0.5, 1.0, 2.0)
    anchors = tf.reshape(tile_anchors(scales, ratios, 10, 10, 16, shapes), [10, 10, 3, 4])
    areas = tf.constant(base_areas(scales, ratios, shapes))
    gt = ground_truth([[68, 68, 76, 76]])  # around the middle of a cell
    options = {**RPN, "positive_iou": 0.99}
    labels = rpn_targets(anchors, areas, tf.constant([[160, 160]]), gt, SEED, **options).labels
    positive = np.reshape(labels == 1, (100, 3))
    assert positive.any(axis=0).tolist() == shares and positive.sum() >= sum(shares)
