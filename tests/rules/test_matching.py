"""Matching of boxes with objects, and the labels of anchors that follow from it: hand-computed cases."""

import numpy as np
import pytest
import tensorflow as tf

from keras_frcnn.rules.targets import label_anchors, match


def test_match_by_hand():
    ious = tf.constant([[[0.2, 0.6, 0.9], [0.5, 0.5, 0.1], [0, 0, 0], [0, 0.1, 0.3]]], tf.float32)
    best, iou = match(ious, tf.constant([[True, True, False]]))
    # The third object is not valid.  Of a tie, the first object wins.  A box without overlap has index 0 and IoU 0.
    assert best.dtype == tf.int32
    assert best.numpy().tolist() == [[1, 0, 0, 1]]
    np.testing.assert_array_equal(iou, np.float32([[0.6, 0.5, 0, 0.1]]))


@pytest.mark.parametrize("objects", [0, 2])
def test_match_without_valid_objects(objects):
    best, iou = match(tf.fill([1, 3, objects], 0.9), tf.zeros([1, objects], tf.bool))
    assert best.numpy().tolist() == [[0, 0, 0]]
    assert iou.numpy().tolist() == [[0, 0, 0]]


# Labels of anchors (section 3.1.2).


def labels_of(ious, gt_valid=None, candidates=None):
    """The labels of one image's anchors from their IoUs (A, G), with thresholds 0.7 and 0.3."""
    ious = np.float32(ious)
    gt_valid = np.ones(ious.shape[1], bool) if gt_valid is None else np.array(gt_valid)
    candidates = np.ones(ious.shape[0], bool) if candidates is None else np.array(candidates)
    labels = label_anchors(tf.constant(ious[None]), gt_valid[None], candidates[None], 0.7, 0.3)
    assert labels.dtype == tf.int32
    return labels.numpy()[0].tolist()


def test_thresholds():
    # The first anchor is the object's best.  An IoU of exactly 0.7 is positive, one of exactly 0.3 is not negative.
    assert labels_of([[0.9], [0.7], [0.699], [0.5], [0.3], [0.299], [0]]) == [1, 1, -1, -1, -1, 0, 0]


def test_every_tie_for_the_highest_is_positive():
    assert labels_of([[0.5], [0.5], [0.499], [0.5]]) == [1, 1, -1, 1]


def test_an_object_below_the_thresholds_gets_its_best_anchor():
    assert labels_of([[0.4], [0.35], [0.1]]) == [1, -1, 0]
    # This also holds if that IoU is below the negative threshold.
    assert labels_of([[0.1], [0.05], [0]]) == [1, 0, 0]


def test_every_object_has_its_own_highest():
    # The second anchor is not the best of any object.  The third is the best of the second object, at a low IoU.
    assert labels_of([[0.9, 0.1], [0.6, 0.2], [0.1, 0.25]]) == [1, -1, 1]


def test_a_negative_has_a_low_iou_with_every_object():
    assert labels_of([[0.1, 0.5], [0.1, 0.8], [0.9, 0.1], [0.2, 0.29]]) == [-1, 1, 1, 0]


def test_an_object_without_overlap_has_no_positive():
    assert labels_of([[0, 0.8], [0, 0.1], [0, 0]]) == [1, 0, 0]


def test_only_candidates_are_labelled():
    ious = [[0.9], [0.4], [0.1], [0.9]]
    # The highest IoU of a candidate is 0.4.  The two anchors at 0.9 cross the border, so they do not compete.
    assert labels_of(ious, candidates=[False, True, True, False]) == [-1, 1, 0, -1]


def test_without_objects_all_are_negative():
    assert labels_of(np.zeros([4, 0]), candidates=[True, False, True, True]) == [0, -1, 0, 0]
    assert labels_of(np.full([2, 3], 0.9), gt_valid=[False] * 3) == [0, 0]


def test_invalid_objects_are_ignored():
    assert labels_of([[0.9, 0.1], [0.5, 0.4], [0.8, 0.0]], gt_valid=[False, True]) == [0, 1, 0]


def test_each_image_is_labelled_by_itself():
    ious = tf.constant([[[0.9], [0.4]], [[0.1], [0.4]]])
    labels = label_anchors(ious, tf.ones([2, 1], tf.bool), tf.ones([2, 2], tf.bool), 0.7, 0.3)
    assert labels.numpy().tolist() == [[1, -1], [0, 1]]
