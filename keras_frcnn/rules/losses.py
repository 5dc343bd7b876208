"""The losses of the RPN (section 3.1.2, equation 1) and of the detector (Girshick 2015, equation 1).

Each function returns a dict of named sums over the batch and the count that divides them all.  Sum and count are kept
apart because the count must be the global one: then replicas and batch sizes give the same gradient.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import HeadOutput, RoITargets, RPNOutput, RPNTargets


def smooth_l1(difference, sigma: float):
    """0.5 (sigma x)^2 where |x| < 1 / sigma^2, else |x| - 0.5 / sigma^2, element by element."""
    squared = sigma * sigma
    absolute = tf.abs(difference)
    return tf.where(absolute < 1.0 / squared, 0.5 * squared * tf.square(difference), absolute - 0.5 / squared)


def _box_loss_sum(predicted, target, rows, sigma: float):
    """Smooth L1 of (..., 4) deltas, summed over the coordinates and over the rows marked in `rows` (...)."""
    loss = tf.reduce_sum(smooth_l1(tf.cast(predicted, tf.float32) - target, sigma), axis=-1)
    return tf.reduce_sum(tf.where(rows, loss, 0.0))


def _class_loss_sum(logits, classes, rows):
    """Log loss of (..., C) logits, summed over the rows marked in `rows` (...)."""
    classes = tf.where(rows, classes, 0)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.where(rows, loss, 0.0))


def rpn_loss_sums(output: RPNOutput, targets: RPNTargets, box_loss_weight: float, sigma: float):
    """({"rpn_class": sum, "rpn_box": sum}, number of sampled anchors)."""
    sampled = targets.labels >= 0
    sums = {
        "rpn_class": _class_loss_sum(output.logits, targets.labels, sampled),
        "rpn_box": box_loss_weight * _box_loss_sum(output.deltas, targets.deltas, targets.labels == 1, sigma),
    }
    return sums, tf.reduce_sum(tf.cast(sampled, tf.float32))


def head_loss_sums(output: HeadOutput, targets: RoITargets, box_loss_weight: float, sigma: float):
    """({"head_class": sum, "head_box": sum}, number of valid RoIs).  Only the true class's deltas are trained."""
    own_class = tf.gather(output.deltas, targets.classes, axis=2, batch_dims=2)
    foreground = targets.valid & (targets.classes > 0)
    sums = {
        "head_class": _class_loss_sum(output.logits, targets.classes, targets.valid),
        "head_box": box_loss_weight * _box_loss_sum(own_class, targets.deltas, foreground, sigma),
    }
    return sums, tf.reduce_sum(tf.cast(targets.valid, tf.float32))
