"""Matching, sampling and targets: hand-sized cases and invariants."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.geometry import randomness
from keras_frcnn.geometry.anchors import tile_anchors
from keras_frcnn.facts.structures import GroundTruth, Proposals
from keras_frcnn.rules.targets import label_anchors, match, roi_targets, rpn_targets, sample_balanced

RPN = {"positive_iou": 0.7, "negative_iou": 0.3, "batch_size": 256, "positive_fraction": 0.5}
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


def numbers(anchors, seeds=((7, 0),)):
    return randomness.uniform(tf.constant(seeds), randomness.ANCHOR_SAMPLING, [len(anchors)])


def test_rpn_targets_by_hand():
    gt = ground_truth([[10, 10, 30, 30], [50, 10, 70, 30], [60, 60, 80, 80]], valid=[True, True, False])
    anchors = tf.constant([
        [10, 10, 30, 30],  # the first object itself
        [10, 15, 30, 35],  # 20 x 15 of 400 + 400 - 300: IoU 0.6, between the thresholds
        [50, 20, 70, 40],  # 20 x 10 of 600 with the second object: IoU 1/3, its best
        [60, 60, 80, 80],  # the object that is not valid: background
        [-5, 10, 15, 30],  # crosses the border
        [50, 10, 70, 100.5],  # crosses the border
    ], tf.float32)
    targets = rpn_targets(anchors, tf.constant([[100, 100]]), gt, numbers(anchors), **RPN)
    assert targets.labels.numpy().tolist() == [[1, -1, 1, 0, -1, -1]]
    assert targets.labels.dtype == tf.int32 and targets.deltas.dtype == tf.float32
    # Third anchor: centre (60, 30) to (60, 20), 20 wide: tx = -10 / 20.
    np.testing.assert_allclose(targets.deltas, [[[0] * 4, [0] * 4, [0, -0.5, 0, 0], [0] * 4, [0] * 4, [0] * 4]])


def test_rpn_delta_is_that_of_the_best_object():
    gt = ground_truth([[10, 10, 30, 26], [10, 10, 30, 34]])
    anchors = tf.constant([[10, 10, 30, 30], [60, 60, 80, 80]], tf.float32)
    # IoU 16/20 with the first, 20/24 with the second: 24 wide is what it should become.
    targets = rpn_targets(anchors, tf.constant([[100, 100]]), gt, numbers(anchors), **RPN)
    np.testing.assert_allclose(targets.deltas[0, 0], [0, 2 / 20, 0, math.log(24 / 20)], rtol=1e-6)


def test_rpn_targets_of_an_image_without_objects():
    anchors = tile_anchors([16, 32], [1], 4, 4, 16)
    for gt in (ground_truth([]), ground_truth([[0, 0, 0, 0]], classes=[0], valid=[False])):
        targets = rpn_targets(anchors, tf.constant([[64, 64]]), gt, numbers(anchors), **RPN)
        # All that are inside are sampled as negatives: 16 anchors of 16 px, and of those of 32 px the 4 in the middle.
        inside = np.all((anchors >= 0) & (anchors <= 64), axis=-1)
        assert np.count_nonzero(inside) == 20
        np.testing.assert_array_equal(targets.labels[0], np.where(inside, 0, -1))
        np.testing.assert_array_equal(targets.deltas, np.zeros([1, 32, 4]))


def many_anchors():
    """A field of 400 anchors in an image of 320 x 320, and an object that makes some of them positive."""
    return tile_anchors([16], [1], 20, 20, 16), tf.constant([[320, 320]]), ground_truth([[0, 0, 16, 16]])


def test_rpn_sample_is_of_the_wanted_size():
    anchors, size, gt = many_anchors()
    labels = rpn_targets(anchors, size, gt, numbers(anchors), **RPN).labels.numpy()
    assert np.count_nonzero(labels == 1) == 1
    assert np.count_nonzero(labels == 0) == 255  # of 399
    # Many objects: half of the sample at most is positive.
    crowd = ground_truth(anchors[:300])
    labels = rpn_targets(anchors, size, crowd, numbers(anchors), **RPN).labels.numpy()
    assert np.count_nonzero(labels == 1) == 128
    assert np.count_nonzero(labels == 0) == 100  # all there are; positives do not make them up


def test_rpn_deltas_are_zero_where_nothing_was_sampled():
    anchors, size, _ = many_anchors()
    crowd = ground_truth(anchors[:300] + [0, 0, 2.0, 0])
    targets = rpn_targets(anchors, size, crowd, numbers(anchors), **RPN)
    has_delta = np.any(targets.deltas != 0, axis=-1)
    np.testing.assert_array_equal(has_delta, targets.labels == 1)


def test_rpn_sampling_depends_on_the_numbers_alone():
    anchors, size, gt = many_anchors()
    one = rpn_targets(anchors, size, gt, numbers(anchors), **RPN)
    again = rpn_targets(anchors, size, gt, numbers(anchors), **RPN)
    np.testing.assert_array_equal(one.labels, again.labels)
    other = rpn_targets(anchors, size, gt, numbers(anchors, [[7, 1]]), **RPN)
    assert np.any(one.labels != other.labels)
    # The same image third in a batch of three, among others.
    crowd = ground_truth(anchors[300:301])
    together = rpn_targets(
        anchors,
        tf.constant([[100, 320], [200, 200], [320, 320]]),
        batch_of(crowd, crowd, gt),
        numbers(anchors, [[1, 1], [3, 4], [7, 0]]),
        **RPN,
    )
    np.testing.assert_array_equal(together.labels[2], one.labels[0])
    np.testing.assert_array_equal(together.deltas[2], one.deltas[0])


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
    proposals = proposals_of([
        [0, 0, 10, 10],  # IoU 0.5 itself is foreground
        [0, 0, 9, 10],  # 0.45: background
        [0, 0, 2, 10],  # 0.1 itself is background
        [0, 0, 1, 10],  # 0.05: neither, with the paper's lower bound
        [50, 50, 60, 60],  # 0: neither, with the paper's lower bound
    ])
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
