"""The losses of the RPN (section 3.1.2, equation 1) and of the detector (Girshick 2015, equation 1).

Each function returns named sums over the batch, and the count that divides them.  The two are kept apart because the
count must be that of the global batch.  Then the gradient depends neither on the number of replicas nor on how many
images each of them processes at a time.

Axes: B images, A anchors, R sampled RoIs, C classes with background.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import HeadOutput, RoITargets, RPNOutput, RPNTargets, Tensor


def smooth_l1(difference: Tensor, sigma: float) -> Tensor:
    """Compute the smooth L1 loss of each element: 0.5 (sigma x)^2 if |x| < 1 / sigma^2, else |x| - 0.5 / sigma^2.

    With sigma 1 this is equation 3 of Girshick 2015.  The authors' released code adds sigma.
    """
    squared = sigma * sigma
    absolute = tf.abs(difference)
    return tf.where(absolute < 1.0 / squared, 0.5 * squared * tf.square(difference), absolute - 0.5 / squared)


def rpn_loss_sums(
    output: RPNOutput, targets: RPNTargets, box_loss_weight: float, sigma: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum the losses of the RPN over the sampled anchors (section 3.1.2, equation 1).

    Args:
        output: Logits (B, A, 2) and deltas (B, A, 4).
        targets: Labels (B, A) and deltas (B, A, 4).  Only anchors of label 1 have a box loss.
        box_loss_weight: The factor of the box loss.
        sigma: See `smooth_l1`.

    Returns:
        {"rpn_class": () float32, "rpn_box": () float32} and the number of sampled anchors, () float32.  Sum and number
        are 0 if no anchor is sampled.
    """
    sampled = targets.labels >= 0
    sums = {
        "rpn_class": _class_loss_sum(output.logits, targets.labels, sampled),
        "rpn_box": box_loss_weight * _box_loss_sum(output.deltas, targets.deltas, targets.labels == 1, sigma),
    }
    return sums, tf.reduce_sum(tf.cast(sampled, tf.float32))


def head_loss_sums(
    output: HeadOutput, targets: RoITargets, box_loss_weight: float, sigma: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Sum the losses of the detector head over the sampled RoIs (Girshick 2015, equation 1).

    Args:
        output: Logits (B, R, C) and normalised deltas (B, R, C, 4).
        targets: Classes (B, R), normalised deltas (B, R, 4) and valid (B, R).  Only valid foreground RoIs have a box
            loss, for the deltas of their true class.
        box_loss_weight: The factor of the box loss.
        sigma: See `smooth_l1`.

    Returns:
        {"head_class": () float32, "head_box": () float32} and the number of valid RoIs, () float32.  Sum and number
        are 0 if no RoI is valid.
    """
    own_class = tf.gather(output.deltas, targets.classes, axis=2, batch_dims=2)
    foreground = targets.valid & (targets.classes > 0)
    sums = {
        "head_class": _class_loss_sum(output.logits, targets.classes, targets.valid),
        "head_box": box_loss_weight * _box_loss_sum(own_class, targets.deltas, foreground, sigma),
    }
    return sums, tf.reduce_sum(tf.cast(targets.valid, tf.float32))


def _box_loss_sum(predicted: Tensor, target: Tensor, rows: Tensor, sigma: float) -> Tensor:
    """Sum the smooth L1 loss of (..., 4) deltas over the coordinates and over the marked `rows` (...) bool."""
    loss = tf.reduce_sum(smooth_l1(tf.cast(predicted, tf.float32) - target, sigma), axis=-1)
    return tf.reduce_sum(tf.where(rows, loss, 0.0))


def _class_loss_sum(logits: Tensor, classes: Tensor, rows: Tensor) -> Tensor:
    """Sum the log loss of (..., C) logits and (...) int32 classes over the marked `rows` (...) bool."""
    classes = tf.where(rows, classes, 0)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.where(rows, loss, 0.0))
