"""Training targets of the detector: hand-computed cases, missing boxes, and independence of the batch."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.facts.structures import GroundTruth, Proposals
from keras_frcnn.rules.targets import roi_targets

ROI = {
    "foreground_iou": 0.5,
    "background_iou": 0.0,
    "batch_size": 6,
    "foreground_fraction": 0.5,
    "delta_std": (0.1, 0.1, 0.2, 0.2),
}
SEED = tf.constant([[7, 0]])


def proposals_of(boxes, valid=None):
    """The proposals of one image, with scores 0."""
    boxes = np.reshape(boxes, (1, -1, 4))
    count = boxes.shape[1]
    return Proposals(
        boxes=tf.constant(boxes, tf.float32),
        scores=tf.zeros([1, count]),
        valid=tf.constant([[True] * count if valid is None else valid], tf.bool, [1, count]),
    )


def test_roi_targets_by_hand(ground_truth):
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
    # Foreground first (the first proposal and the valid object itself), then background, then rows that are not valid.
    zeros = [0] * 4
    np.testing.assert_array_equal(
        targets.boxes, [[[10, 10, 30, 40], [10, 10, 30, 30], [60, 60, 80, 80], zeros, zeros, zeros]]
    )
    assert targets.classes.numpy().tolist() == [[4, 4, 0, 0, 0, 0]]
    assert targets.valid.numpy().tolist() == [[True, True, True, False, False, False]]
    # The centre moves from (20, 25) to (20, 20), and the width changes from 30 to 20: tx = -5 / 30, tw = log(20 / 30).
    # These are divided by 0.1 and 0.2.
    first = [0, -5 / 30 / 0.1, 0, math.log(2 / 3) / 0.2]
    np.testing.assert_allclose(targets.deltas, [[first, zeros, zeros, zeros, zeros, zeros]], rtol=1e-5)
    assert [field.dtype for field in targets] == [tf.float32, tf.int32, tf.float32, tf.bool]


def test_each_delta_has_its_own_std(ground_truth):
    gt = ground_truth([[10, 10, 30, 30]])
    proposals = proposals_of([[8, 6, 30, 34]])  # centre (19, 20), 22 high, 28 wide: IoU 400 / 616
    targets = roi_targets(proposals, gt, SEED, **{**ROI, "delta_std": (0.5, 0.25, 2, 4)})
    expected = [1 / 22 / 0.5, 0, math.log(20 / 22) / 2, math.log(20 / 28) / 4]
    np.testing.assert_allclose(targets.deltas[0, 0], expected, rtol=1e-5)


def test_roi_thresholds(ground_truth):
    gt = ground_truth([[0, 0, 20, 10]])
    proposals = proposals_of(
        [
            [0, 0, 10, 10],  # IoU exactly 0.5: foreground
            [0, 0, 9, 10],  # 0.45: background
            [0, 0, 2, 10],  # exactly 0.1: background
            [0, 0, 1, 10],  # 0.05: neither, with the paper's lower bound
            [50, 50, 60, 60],  # 0: neither, with the paper's lower bound
        ]
    )
    paper = roi_targets(proposals, gt, SEED, **{**ROI, "background_iou": 0.1})
    assert paper.boxes[0, :, 2].numpy().tolist() == [10, 20, 9, 2, 0, 0]
    assert paper.classes.numpy().tolist() == [[1, 1, 0, 0, 0, 0]]
    released = roi_targets(proposals, gt, SEED, **ROI)
    assert released.boxes[0, :, 2].numpy().tolist() == [10, 20, 9, 2, 1, 60]


def test_a_roi_has_the_class_of_the_best_object(ground_truth):
    gt = ground_truth([[0, 0, 20, 16], [0, 0, 20, 24]], classes=[3, 8])
    # The IoU is 16/20 with the first object and 20/24 with the second.
    targets = roi_targets(proposals_of([[0, 0, 20, 20]]), gt, SEED, **ROI)
    assert targets.classes[0, :3].numpy().tolist() == [8, 3, 8]


def test_the_roi_sample_has_the_right_size(ground_truth):
    gt = ground_truth([[0, 0, 40, 40]])
    near = [[0, 0, 40, 40 - i / 10] for i in range(50)]
    far = [[100, 100, 140, 140 + i] for i in range(50)]
    targets = roi_targets(proposals_of(near + far), gt, SEED, **{**ROI, "batch_size": 64, "foreground_fraction": 0.25})
    assert np.all(targets.valid)
    assert np.count_nonzero(targets.classes) == 16  # a quarter of 64; there are 51
    # Foreground does not replace missing background.
    targets = roi_targets(proposals_of(near), gt, SEED, **{**ROI, "batch_size": 64, "foreground_fraction": 0.25})
    assert targets.valid.numpy().sum() == np.count_nonzero(targets.classes) == 16


@pytest.mark.parametrize("padding", [0, 2])
def test_roi_targets_without_objects(padding, ground_truth):
    gt = ground_truth([[0, 0, 0, 0]] * padding, [0] * padding, [False] * padding)
    targets = roi_targets(proposals_of([[0, 0, 9, 9], [5, 5, 9, 9]], [True, True]), gt, SEED, **ROI)
    assert targets.valid.numpy().tolist() == [[True, True] + [False] * 4]
    assert not np.any(targets.classes) and not np.any(targets.deltas)
    np.testing.assert_array_equal(targets.boxes[0], [[0, 0, 9, 9], [5, 5, 9, 9]] + [[0] * 4] * 4)


def test_roi_targets_without_proposals(ground_truth):
    targets = roi_targets(proposals_of([]), ground_truth([[0, 0, 9, 9]], classes=[5]), SEED, **ROI)
    assert targets.valid.numpy().tolist() == [[True] + [False] * 5]
    assert targets.classes.numpy().tolist() == [[5] + [0] * 5]
    np.testing.assert_array_equal(targets.boxes[0, 0], [0, 0, 9, 9])


def test_roi_targets_without_proposals_and_objects(ground_truth):
    targets = roi_targets(proposals_of([]), ground_truth([]), SEED, **ROI)
    assert [field.shape for field in targets] == [(1, 6, 4), (1, 6), (1, 6, 4), (1, 6)]
    assert not any(np.any(field) for field in targets)


def test_roi_sampling_depends_only_on_the_seed(ground_truth, batch_of):
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
    # The same image in a batch that is padded to more proposals and more objects.
    more = tf.constant([[0, 0], [0, 9]])
    padded = Proposals(
        tf.pad(proposals.boxes, [[0, 0], [0, 9], [0, 0]]), tf.pad(proposals.scores, more), tf.pad(proposals.valid, more)
    )
    truth = GroundTruth(
        tf.pad(gt.boxes, [[0, 0], [0, 9], [0, 0]]), tf.pad(gt.classes, more), tf.pad(gt.valid, more)
    )  # fmt: skip
    for field, field_padded in zip(one, roi_targets(padded, truth, SEED, **ROI), strict=True):
        np.testing.assert_array_equal(field, field_padded)


def test_the_sampled_objects_do_not_depend_on_the_padding_of_proposals(ground_truth):
    gt = ground_truth([[10 * i, 0, 10 * i + 9, 9] for i in range(20)])
    alone = roi_targets(proposals_of([]), gt, SEED, **ROI)
    padded = roi_targets(proposals_of([[0] * 4] * 9, [False] * 9), gt, SEED, **ROI)
    assert np.count_nonzero(alone.classes) == 3  # of 20 objects
    np.testing.assert_array_equal(padded.boxes, alone.boxes)


def test_with_balanced_foreground_every_object_is_sampled(ground_truth):
    """20 proposals at one object and its own box, and nothing but its own box at the other; room for 3."""
    gt = ground_truth([[10, 10, 30, 30], [60, 60, 80, 80]], classes=[1, 2])
    proposals = proposals_of([[10, 10, 30, 30 + n / 20] for n in range(20)])

    def classes(seed, balanced):
        targets = roi_targets(proposals, gt, tf.constant([[seed, 0]]), **ROI, balanced=balanced)
        return sorted(targets.classes.numpy()[0].tolist())

    assert all(classes(seed, True) == [0, 0, 0, 1, 1, 2] for seed in range(10))
    assert any(classes(seed, False) == [0, 0, 0, 1, 1, 1] for seed in range(10))
