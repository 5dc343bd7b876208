"""Matching, sampling and targets: hand-sized cases and invariants."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.facts.structures import GroundTruth, Proposals
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness
from keras_frcnn.geometry.anchors import base_areas, inside_image, tile_anchors
from keras_frcnn.rules.targets import anchor_ious, label_anchors, match, roi_targets, rpn_targets, sample_balanced

RPN = {
    "stride": 16,
    "widest": 70,
    "positive_iou": 0.7,
    "negative_iou": 0.3,
    "batch_size": 256,
    "positive_fraction": 0.5,
}
ROI = {
    "foreground_iou": 0.5,
    "background_iou": 0.0,
    "batch_size": 6,
    "foreground_fraction": 0.5,
    "delta_std": (0.1, 0.1, 0.2, 0.2),
}
SEED = tf.constant([[7, 0]])


def ground_truth(boxes, classes=None, valid=None):
    """The objects of one image."""
    boxes = np.reshape(boxes, (1, -1, 4))
    count = boxes.shape[1]
    return GroundTruth(
        boxes=tf.constant(boxes, tf.float32),
        classes=tf.constant([list(range(1, count + 1)) if classes is None else classes], tf.int32, [1, count]),
        valid=tf.constant([[True] * count if valid is None else valid], tf.bool, [1, count]),
    )


def proposals_of(boxes, valid=None):
    """The proposals of one image."""
    boxes = np.reshape(boxes, (1, -1, 4))
    count = boxes.shape[1]
    return Proposals(
        boxes=tf.constant(boxes, tf.float32),
        scores=tf.zeros([1, count]),
        valid=tf.constant([[True] * count if valid is None else valid], tf.bool, [1, count]),
    )


def batch_of(*images):
    """Put tuples of one image each together."""
    return type(images[0])(*(tf.concat(fields, axis=0) for fields in zip(*images, strict=True)))


# --- match


def test_match_by_hand():
    ious = tf.constant([[[0.2, 0.6, 0.9], [0.5, 0.5, 0.1], [0, 0, 0], [0, 0.1, 0.3]]], tf.float32)
    best, iou = match(ious, tf.constant([[True, True, False]]))
    # The third object is not valid; of a tie the first wins; what touches no object has index 0 and IoU 0.
    assert best.dtype == tf.int32
    assert best.numpy().tolist() == [[1, 0, 0, 1]]
    np.testing.assert_array_equal(iou, np.float32([[0.6, 0.5, 0, 0.1]]))


@pytest.mark.parametrize("objects", [0, 2])
def test_match_without_valid_objects(objects):
    best, iou = match(tf.fill([1, 3, objects], 0.9), tf.zeros([1, objects], tf.bool))
    assert best.numpy().tolist() == [[0, 0, 0]]
    assert iou.numpy().tolist() == [[0, 0, 0]]


# --- label_anchors


def labels_of(ious, gt_valid=None, candidates=None):
    ious = np.float32(ious)
    gt_valid = np.ones(ious.shape[1], bool) if gt_valid is None else np.array(gt_valid)
    candidates = np.ones(ious.shape[0], bool) if candidates is None else np.array(candidates)
    labels = label_anchors(tf.constant(ious[None]), gt_valid[None], candidates[None], 0.7, 0.3)
    assert labels.dtype == tf.int32
    return labels.numpy()[0].tolist()


def test_thresholds():
    # The first anchor is the object's best; 0.7 itself is positive, 0.3 itself is not negative.
    assert labels_of([[0.9], [0.7], [0.699], [0.5], [0.3], [0.299], [0]]) == [1, 1, -1, -1, -1, 0, 0]


def test_every_tie_for_the_highest_is_positive():
    assert labels_of([[0.5], [0.5], [0.499], [0.5]]) == [1, 1, -1, 1]


def test_an_object_below_the_thresholds_gets_its_best_anchor():
    assert labels_of([[0.4], [0.35], [0.1]]) == [1, -1, 0]
    # Even where that is under the negative threshold.
    assert labels_of([[0.1], [0.05], [0]]) == [1, 0, 0]


def test_every_object_has_its_own_highest():
    # The second anchor is no object's best; the third is the best of the second object, however low.
    assert labels_of([[0.9, 0.1], [0.6, 0.2], [0.1, 0.25]]) == [1, -1, 1]


def test_negative_means_of_every_object():
    assert labels_of([[0.1, 0.5], [0.1, 0.8], [0.9, 0.1], [0.2, 0.29]]) == [-1, 1, 1, 0]


def test_an_object_that_nothing_touches_makes_no_positive():
    assert labels_of([[0, 0.8], [0, 0.1], [0, 0]]) == [1, 0, 0]


def test_candidates_alone_count():
    ious = [[0.9], [0.4], [0.1], [0.9]]
    # The highest of the candidates is 0.4: the two at 0.9 cross the border, and do not count as the highest.
    assert labels_of(ious, candidates=[False, True, True, False]) == [-1, 1, 0, -1]


def test_no_objects_all_negative():
    assert labels_of(np.zeros([4, 0]), candidates=[True, False, True, True]) == [0, -1, 0, 0]
    assert labels_of(np.full([2, 3], 0.9), gt_valid=[False] * 3) == [0, 0]


def test_invalid_objects_are_ignored():
    assert labels_of([[0.9, 0.1], [0.5, 0.4], [0.8, 0.0]], gt_valid=[False, True]) == [0, 1, 0]


def test_images_are_labelled_apart():
    ious = tf.constant([[[0.9], [0.4]], [[0.1], [0.4]]])
    labels = label_anchors(ious, tf.ones([2, 1], tf.bool), tf.ones([2, 2], tf.bool), 0.7, 0.3)
    assert labels.numpy().tolist() == [[1, -1], [0, 1]]


# --- sample_balanced


def sample(positive, negative, count, fraction, priorities):
    """Indices of the chosen positives and of the chosen negatives, of lists of indices."""
    n = len(priorities)
    masks = [np.isin(np.arange(n), indices)[None] for indices in (positive, negative)]
    chosen = sample_balanced(*masks, count, fraction, tf.constant([priorities], tf.float32))
    return tuple(np.flatnonzero(mask[0]).tolist() for mask in chosen)


PRIORITIES = [0.1, 0.9, 0.5, 0.3, 0.8, 0.0, 0.6, 0.99]


def test_the_highest_priorities_are_chosen():
    assert sample([0, 1, 2], [3, 4, 5, 6], 4, 0.5, PRIORITIES) == ([1, 2], [4, 6])


def test_missing_positives_are_made_up_with_negatives():
    assert sample([0], [3, 4, 5, 6], 4, 0.5, PRIORITIES) == ([0], [3, 4, 6])
    assert sample([], [3, 4, 5, 6], 3, 0.5, PRIORITIES) == ([], [3, 4, 6])


def test_missing_negatives_are_not_made_up():
    assert sample([0, 1, 2], [4], 4, 0.5, PRIORITIES) == ([1, 2], [4])
    assert sample([0, 1, 2], [], 4, 0.5, PRIORITIES) == ([1, 2], [])


def test_a_fraction_is_rounded_down():
    assert sample([0, 1, 2], [3, 4, 5, 6], 5, 0.5, PRIORITIES) == ([1, 2], [3, 4, 6])
    assert sample([0, 1, 2], [3, 4, 5, 6], 3, 0.25, PRIORITIES) == ([], [3, 4, 6])


def test_more_wanted_than_there_is():
    # Priority 0 is the lowest that is drawn, and still comes before what is neither positive nor negative.
    assert sample([1, 5], [0, 3], 100, 0.5, PRIORITIES) == ([1, 5], [0, 3])


def test_tied_priorities_let_no_one_more_through():
    assert sample([0, 1, 2], [3, 4, 5, 6], 4, 0.5, [0.5] * 8) == ([0, 1], [3, 4])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.booleans(),
)
def test_sampling_invariants(seed, boxes, count, fraction, coarse):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (2, boxes))
    priorities = rng.random((2, boxes)).astype(np.float32)
    if coarse:  # many ties
        priorities = np.floor(priorities * 3) / 3
    is_positive, is_negative = kind == 1, kind == 2
    positive, negative = (
        chosen.numpy() for chosen in sample_balanced(is_positive, is_negative, count, fraction, priorities)
    )
    assert not np.any(positive & ~is_positive) and not np.any(negative & ~is_negative)
    assert not np.any(positive & negative)
    for i in range(2):
        expected = min(is_positive[i].sum(), math.floor(count * fraction))
        assert positive[i].sum() == expected
        assert negative[i].sum() == min(is_negative[i].sum(), count - expected)
        for chosen, every in ((positive[i], is_positive[i]), (negative[i], is_negative[i])):
            if chosen.any() and (every & ~chosen).any():
                assert priorities[i][chosen].min() >= priorities[i][every & ~chosen].max()


# --- rpn_targets


def targets_of(anchors, size, gt, seeds=((7, 0),), **options):
    """The RPN targets of `anchors`: a grid (h, w, k, 4), or a list (A, 4) that stands on one cell."""
    anchors = tf.reshape(anchors, [1, 1, -1, 4]) if len(anchors.shape) == 2 else anchors
    areas = box_ops.area(anchors[0, 0])
    return rpn_targets(anchors, areas, tf.constant([size]), gt, tf.constant(seeds), **{**RPN, **options})


def anchor_grid(scales, ratios, height, width):
    return tf.reshape(tile_anchors(scales, ratios, height, width, 16), [height, width, -1, 4])


def test_rpn_targets_by_hand():
    gt = ground_truth([[10, 10, 30, 30], [50, 10, 70, 30], [60, 60, 80, 80]], valid=[True, True, False])
    anchors = tf.constant(
        [
            [10, 10, 30, 30],  # the first object itself
            [10, 15, 30, 35],  # 20 x 15 of 400 + 400 - 300: IoU 0.6, between the thresholds
            [50, 20, 70, 40],  # 20 x 10 of 600 with the second object: IoU 1/3, its best
            [60, 60, 80, 80],  # the object that is not valid: background
            [-5, 10, 15, 30],  # crosses the border
            [50, 10, 70, 100.5],  # crosses the border
        ],
        tf.float32,
    )
    targets = targets_of(anchors, [100, 100], gt)
    assert targets.labels.numpy().tolist() == [[1, -1, 1, 0, -1, -1]]
    assert targets.labels.dtype == tf.int32 and targets.deltas.dtype == tf.float32
    # Third anchor: centre (60, 30) to (60, 20), 20 wide: tx = -10 / 20.
    np.testing.assert_allclose(targets.deltas, [[[0] * 4, [0] * 4, [0, -0.5, 0, 0], [0] * 4, [0] * 4, [0] * 4]])


def test_rpn_delta_is_that_of_the_best_object():
    gt = ground_truth([[10, 10, 30, 26], [10, 10, 30, 34]])
    anchors = tf.constant([[10, 10, 30, 30], [60, 60, 80, 80]], tf.float32)
    # IoU 16/20 with the first, 20/24 with the second: 24 wide is what it should become.
    targets = targets_of(anchors, [100, 100], gt)
    np.testing.assert_allclose(targets.deltas[0, 0], [0, 2 / 20, 0, math.log(24 / 20)], rtol=1e-6)


def test_rpn_targets_of_an_image_without_objects():
    anchors = anchor_grid([16, 32], [1], 4, 4)
    for gt in (ground_truth([]), ground_truth([[0, 0, 0, 0]], classes=[0], valid=[False])):
        targets = targets_of(anchors, [64, 64], gt)
        # All that are inside are sampled as negatives: 16 anchors of 16 px, and of those of 32 px the 4 in the middle.
        inside = np.all((anchors >= 0) & (anchors <= 64), axis=-1)
        assert np.count_nonzero(inside) == 20
        np.testing.assert_array_equal(targets.labels[0], np.where(inside, 0, -1).ravel())
        np.testing.assert_array_equal(targets.deltas, np.zeros([1, 32, 4]))


def many_anchors():
    """A field of 400 anchors in an image of 320 x 320, and an object that makes some of them positive."""
    return anchor_grid([16], [1], 20, 20), [320, 320], ground_truth([[0, 0, 16, 16]])


def test_rpn_sample_is_of_the_wanted_size():
    anchors, size, gt = many_anchors()
    labels = targets_of(anchors, size, gt).labels.numpy()
    assert np.count_nonzero(labels == 1) == 1
    assert np.count_nonzero(labels == 0) == 255  # of 399
    # Many objects: half of the sample at most is positive.
    crowd = ground_truth(anchors[:15])
    labels = targets_of(anchors, size, crowd).labels.numpy()
    assert np.count_nonzero(labels == 1) == 128
    assert np.count_nonzero(labels == 0) == 100  # all there are; positives do not make them up


def test_rpn_deltas_are_zero_where_nothing_was_sampled():
    anchors, size, _ = many_anchors()
    crowd = ground_truth(anchors[:15] + [0, 0, 2.0, 0])
    targets = targets_of(anchors, size, crowd)
    has_delta = np.any(targets.deltas != 0, axis=-1)
    np.testing.assert_array_equal(has_delta, targets.labels == 1)


def test_rpn_sampling_depends_on_the_seed_alone():
    anchors, size, gt = many_anchors()
    one = targets_of(anchors, size, gt)
    again = targets_of(anchors, size, gt)
    np.testing.assert_array_equal(one.labels, again.labels)
    other = targets_of(anchors, size, gt, [[7, 1]])
    assert np.any(one.labels != other.labels)
    # The same image third in a batch of three, among others.
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


def all_labels(scales, ratios, size, boxes):
    """The labels of all anchors of one image, before sampling: (h, w, k)."""
    height, width = size[0] // 16, size[1] // 16
    anchors = tile_anchors(scales, ratios, height, width, 16)
    gt = ground_truth(boxes)
    ious = anchor_ious(anchors, tf.tile(base_areas(scales, ratios), [height * width]), gt.boxes)
    labels = label_anchors(ious, gt.valid, inside_image(anchors, tf.constant([size])), 0.7, 0.3)
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


PAPER = ([128, 256, 512], [0.5, 1, 2])


@pytest.mark.parametrize(
    ("y", "x", "count"),
    [
        # Inside the anchors of scale 128, in rows x columns of cells: ratio 1/2 in 4 x 10, 1 in 6 x 6, 2 in 7 x 4 (four
        # rows more would hold it, but cross the border).  The three shapes have the same area: all of them tie.
        (116, 276, 4 * 10 + 6 * 6 + 7 * 4),
        (290, 490, 4 * 10 + 7 * 6 + 10 * 4),
        (288.5, 480.25, 4 * 10 + 6 * 6 + 10 * 4),
    ],
)
def test_all_anchors_with_the_highest_iou_are_positive(y, x, count):
    box = [y, x, y + 24, x + 24]
    # A sample so large that it holds all candidates.
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
    """Each object lies in the middle between two columns of anchors that both hold part of it."""
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
    """An object that moves by whole cells takes its labels along.  Corner and sides are in eighths of a pixel."""
    size = (1600, 1600)  # so large that the best anchors of the object never cross the border
    box = np.float32([*corner, *np.add(corner, sides)]) / 8
    labels = np.roll(all_labels(*shapes, size, box), cells, axis=(0, 1))
    moved = all_labels(*shapes, size, box + np.float32([*cells, *cells]) * 16)
    candidates = all_labels(*shapes, size, []) == 0
    both = candidates & np.roll(candidates, cells, axis=(0, 1))
    assert np.any(labels[both] == 1)
    np.testing.assert_array_equal(moved[both], labels[both])


def test_rpn_targets_of_an_image_do_not_depend_on_padding():
    """An anchor beyond an image's own feature cells is ignored, even if it does not cross the border.

    An image of 46 x 79 pixels has 2 x 4 cells.  In a larger batch, the 8 pixel anchor of the third row spans 36 to 44
    pixels: it lies inside the image, but on padding of the feature map.
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
def test_rpn_sampling_draws_one_number_for_each_place_of_the_grid(seed):
    """What is sampled are the negatives with the highest numbers of the anchors' own stream."""
    anchors = anchor_grid([8, 16], [1], 12, 20)
    labels = targets_of(anchors, [192, 320], ground_truth([]), [seed], batch_size=50).labels.numpy()[0]
    drawn = randomness.uniform(tf.constant([seed]), randomness.ANCHOR_SAMPLING, [12, 70, 2]).numpy()[0, :, :20]
    np.testing.assert_array_equal(np.flatnonzero(labels == 0), np.sort(np.argsort(-drawn.ravel())[:50]))


# --- roi_targets


def test_roi_targets_by_hand():
    gt = ground_truth([[10, 10, 30, 30], [60, 60, 80, 80]], classes=[4, 2], valid=[True, False])
    proposals = proposals_of(
        [
            [10, 10, 30, 40],  # 400 of 600: IoU 2/3, foreground
            [60, 60, 80, 80],  # the difficult object: background
            [12, 10, 30, 30],  # padding
        ],
        valid=[True, True, False],
    )
    targets = roi_targets(proposals, gt, SEED, **ROI)
    # Foreground (the first proposal, then the object that joined), background, then rows that are not valid.
    zeros = [0] * 4
    np.testing.assert_array_equal(
        targets.boxes, [[[10, 10, 30, 40], [10, 10, 30, 30], [60, 60, 80, 80], zeros, zeros, zeros]]
    )
    assert targets.classes.numpy().tolist() == [[4, 4, 0, 0, 0, 0]]
    assert targets.valid.numpy().tolist() == [[True, True, True, False, False, False]]
    # Centre (20, 25) to (20, 20), 30 wide to 20: tx = -5 / 30, tw = log(20 / 30), divided by 0.1 and 0.2.
    first = [0, -5 / 30 / 0.1, 0, math.log(2 / 3) / 0.2]
    np.testing.assert_allclose(targets.deltas, [[first, zeros, zeros, zeros, zeros, zeros]], rtol=1e-5)
    assert [field.dtype for field in targets] == [tf.float32, tf.int32, tf.float32, tf.bool]


def test_each_delta_has_its_own_std():
    gt = ground_truth([[10, 10, 30, 30]])
    proposals = proposals_of([[8, 6, 30, 34]])  # centre (19, 20), 22 high, 28 wide: IoU 400 / 616
    targets = roi_targets(proposals, gt, SEED, **{**ROI, "delta_std": (0.5, 0.25, 2, 4)})
    expected = [1 / 22 / 0.5, 0, math.log(20 / 22) / 2, math.log(20 / 28) / 4]
    np.testing.assert_allclose(targets.deltas[0, 0], expected, rtol=1e-5)


def test_roi_thresholds():
    gt = ground_truth([[0, 0, 20, 10]])
    proposals = proposals_of(
        [
            [0, 0, 10, 10],  # IoU 0.5 itself is foreground
            [0, 0, 9, 10],  # 0.45: background
            [0, 0, 2, 10],  # 0.1 itself is background
            [0, 0, 1, 10],  # 0.05: neither, with the paper's lower bound
            [50, 50, 60, 60],  # 0: neither, with the paper's lower bound
        ]
    )
    paper = roi_targets(proposals, gt, SEED, **{**ROI, "background_iou": 0.1})
    assert paper.boxes[0, :, 2].numpy().tolist() == [10, 20, 9, 2, 0, 0]
    assert paper.classes.numpy().tolist() == [[1, 1, 0, 0, 0, 0]]
    released = roi_targets(proposals, gt, SEED, **ROI)
    assert released.boxes[0, :, 2].numpy().tolist() == [10, 20, 9, 2, 1, 60]


def test_roi_class_is_that_of_the_best_object():
    gt = ground_truth([[0, 0, 20, 16], [0, 0, 20, 24]], classes=[3, 8])
    # IoU 16/20 with the first, 20/24 with the second.
    targets = roi_targets(proposals_of([[0, 0, 20, 20]]), gt, SEED, **ROI)
    assert targets.classes[0, :3].numpy().tolist() == [8, 3, 8]


def test_roi_sample_is_of_the_wanted_size():
    gt = ground_truth([[0, 0, 40, 40]])
    near = [[0, 0, 40, 40 - i / 10] for i in range(50)]
    far = [[100, 100, 140, 140 + i] for i in range(50)]
    targets = roi_targets(proposals_of(near + far), gt, SEED, **{**ROI, "batch_size": 64, "foreground_fraction": 0.25})
    assert np.all(targets.valid)
    assert np.count_nonzero(targets.classes) == 16  # a quarter of 64, of 51
    # Without background, foreground does not make it up.
    targets = roi_targets(proposals_of(near), gt, SEED, **{**ROI, "batch_size": 64, "foreground_fraction": 0.25})
    assert targets.valid.numpy().sum() == np.count_nonzero(targets.classes) == 16


@pytest.mark.parametrize("gt", [ground_truth([]), ground_truth([[0, 0, 0, 0]] * 2, [0, 0], [False] * 2)])
def test_roi_targets_without_objects(gt):
    targets = roi_targets(proposals_of([[0, 0, 9, 9], [5, 5, 9, 9]], [True, True]), gt, SEED, **ROI)
    assert targets.valid.numpy().tolist() == [[True, True] + [False] * 4]
    assert not np.any(targets.classes) and not np.any(targets.deltas)
    np.testing.assert_array_equal(targets.boxes[0], [[0, 0, 9, 9], [5, 5, 9, 9]] + [[0] * 4] * 4)


def test_roi_targets_without_proposals():
    targets = roi_targets(proposals_of([]), ground_truth([[0, 0, 9, 9]], classes=[5]), SEED, **ROI)
    assert targets.valid.numpy().tolist() == [[True] + [False] * 5]
    assert targets.classes.numpy().tolist() == [[5] + [0] * 5]
    np.testing.assert_array_equal(targets.boxes[0, 0], [0, 0, 9, 9])


def test_roi_targets_without_anything():
    targets = roi_targets(proposals_of([]), ground_truth([]), SEED, **ROI)
    assert [field.shape for field in targets] == [(1, 6, 4), (1, 6), (1, 6, 4), (1, 6)]
    assert not any(np.any(field) for field in targets)


def test_roi_sampling_depends_on_the_seed_alone():
    gt = ground_truth([[0, 0, 40, 40]])
    proposals = proposals_of([[0, 0, 40, 40 - i / 10] for i in range(20)] + [[50, i, 90, 40] for i in range(20)])
    one = roi_targets(proposals, gt, SEED, **ROI)
    again = roi_targets(proposals, gt, SEED, **ROI)
    other = roi_targets(proposals, gt, tf.constant([[8, 0]]), **ROI)
    elsewhere = proposals._replace(boxes=proposals.boxes + 1)
    together = roi_targets(
        batch_of(elsewhere, elsewhere, proposals),
        batch_of(gt, gt, gt),
        tf.constant([[1, 1], [3, 4], [7, 0]]),
        **ROI,
    )
    for field, field_again, field_together in zip(one, again, together, strict=True):
        np.testing.assert_array_equal(field, field_again)
        np.testing.assert_array_equal(field[0], field_together[2])
    assert np.any(one.boxes != other.boxes)
    assert np.all(one.valid) and np.all(other.valid)
    # In a batch padded to more proposals and more objects.
    more = tf.constant([[0, 0], [0, 9]])
    padded = Proposals(
        tf.pad(proposals.boxes, [[0, 0], [0, 9], [0, 0]]), tf.pad(proposals.scores, more), tf.pad(proposals.valid, more)
    )
    truth = GroundTruth(
        tf.pad(gt.boxes, [[0, 0], [0, 9], [0, 0]]), tf.pad(gt.classes, more), tf.pad(gt.valid, more)
    )  # fmt: skip
    for field, field_padded in zip(one, roi_targets(padded, truth, SEED, **ROI), strict=True):
        np.testing.assert_array_equal(field, field_padded)
