"""What the networks should say: matching by IoU, balanced sampling and the targets of the RPN and of the detector.

Axes: B images, A anchors, P proposals, R sampled RoIs, G ground-truth objects.  Boxes are float32, yxyx, pixels of the
resized image.  Pure functions of tensors; randomness comes in as numbers or as one seed an image.  Nothing here is
differentiated: callers hand in plain boxes, and gradients stop before they enter.
"""

import tensorflow as tf

from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness
from keras_frcnn.facts.structures import GroundTruth, Proposals, RoITargets, RPNTargets


def match(ious, gt_valid):
    """The best object of every box: ious (B, N, G), gt_valid (B, G) -> best index (B, N) int32, best IoU (B, N).

    Ties go to the object listed first.  Without any valid object the index is 0 and the IoU is 0.
    """
    ious = tf.where(gt_valid[:, None, :], ious, 0.0)
    # One column more, so that the maximum over no objects at all is 0 and not an error.
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]])
    best_iou = tf.reduce_max(ious, axis=-1)
    best = tf.argmax(ious, axis=-1, output_type=tf.int32)  # the first of equals
    return best, best_iou


def label_anchors(ious, gt_valid, candidates, positive_iou: float, negative_iou: float):
    """Label anchors as section 3.1.2 says: ious (B, A, G), candidates (B, A) bool -> labels (B, A) int32.

    1 where the IoU with some object is at least `positive_iou`, or is the highest that any candidate reaches with an
    object (all of them where several tie; an object that no candidate touches makes none); 0 where it is under
    `negative_iou` with every object; -1 between the two, and for anchors that are not candidates.
    """
    # What is no candidate or no object stands below every true IoU.
    ious = tf.where(gt_valid[:, None, :] & candidates[:, :, None], ious, -1.0)
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]], constant_values=-1.0)
    highest_of_object = tf.reduce_max(ious, axis=1, keepdims=True)
    is_highest = tf.reduce_any((ious == highest_of_object) & (ious > 0.0), axis=-1)
    best_iou = tf.reduce_max(ious, axis=-1)
    positive = candidates & (is_highest | (best_iou >= positive_iou))
    negative = candidates & (best_iou < negative_iou) & ~positive
    return tf.where(positive, 1, tf.where(negative, 0, -1))


def _keep_highest(mask, priorities, counts):
    """The `counts` (B,) of each row's True entries that have the highest priorities, or all where there are fewer.

    Ranks, not a threshold, decide: two equal priorities never let one too many through.
    """
    order = tf.argsort(tf.where(mask, priorities, -1.0), axis=-1, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, axis=-1, stable=True)  # the inverse permutation
    return mask & (rank < counts[:, None])


def sample_balanced(positive, negative, count: int, positive_fraction: float, priorities):
    """Choose at most `count` boxes of each image, at most `positive_fraction` of them positive, by highest priority.

    positive, negative (B, N) bool, disjoint; priorities (B, N) in [0, 1), random numbers for a random choice.  Missing
    positives are made up with negatives, not the other way round.  Returns the chosen positives and the chosen
    negatives, both (B, N) bool.
    """
    most_positive = tf.fill([tf.shape(positive)[0]], int(count * positive_fraction))
    positive = _keep_highest(positive, priorities, most_positive)
    rest = count - tf.reduce_sum(tf.cast(positive, tf.int32), axis=-1)
    return positive, _keep_highest(negative, priorities, rest)


def rpn_targets(
    anchors, image_sizes, gt: GroundTruth, priorities, *, positive_iou, negative_iou, batch_size, positive_fraction
) -> RPNTargets:
    """Labels and deltas of `anchors` (A, 4); those that cross an image's border are ignored (section 3.1.2).

    Where there are too many, those with the highest `priorities` (B, A), random numbers, are sampled.
    """
    candidates = anchor_rules.inside_image(anchors, image_sizes)
    ious = box_ops.pairwise_iou(anchors[None], gt.boxes)
    labels = label_anchors(ious, gt.valid, candidates, positive_iou, negative_iou)
    positive, negative = sample_balanced(labels == 1, labels == 0, batch_size, positive_fraction, priorities)
    best, _ = match(ious, gt.valid)
    deltas = box_ops.encode(_rows(gt.boxes, best), anchors[None])
    return RPNTargets(
        labels=tf.where(positive, 1, tf.where(negative, 0, -1)),
        deltas=tf.where(positive[..., None], deltas, 0.0),
    )


def roi_targets(
    proposals: Proposals,
    gt: GroundTruth,
    seeds,
    *,
    foreground_iou,
    background_iou,
    batch_size,
    foreground_fraction,
    delta_std,
) -> RoITargets:
    """Sample `batch_size` RoIs of each image and say what the detector should make of them (Girshick 2015, 2.3).

    The ground-truth boxes join the proposals.  Foreground: highest IoU >= `foreground_iou`; background: highest IoU in
    [`background_iou`, `foreground_iou`).  Where an image has fewer, the rest of the rows is not valid.
    """
    boxes = tf.concat([proposals.boxes, gt.boxes], axis=1)
    valid = tf.concat([proposals.valid, gt.valid], axis=1)
    # At least `batch_size` rows to choose from keeps the number of rows fixed.
    short = tf.maximum(batch_size - tf.shape(boxes)[1], 0)
    boxes = tf.pad(boxes, [[0, 0], [0, short], [0, 0]])
    valid = tf.pad(valid, [[0, 0], [0, short]])

    best, best_iou = match(box_ops.pairwise_iou(boxes, gt.boxes), gt.valid)
    foreground = valid & (best_iou >= foreground_iou)
    background = valid & (best_iou < foreground_iou) & (best_iou >= background_iou)
    # Objects draw from a stream of their own: how many proposals the batch is padded to must not matter to them.
    of_proposals = randomness.uniform(seeds, randomness.ROI_SAMPLING, [tf.shape(proposals.boxes)[1]])
    of_objects = randomness.uniform(seeds, randomness.OBJECT_SAMPLING, [tf.shape(gt.boxes)[1]])
    priorities = tf.pad(tf.concat([of_proposals, of_objects], axis=1), [[0, 0], [0, short]])
    foreground, background = sample_balanced(foreground, background, batch_size, foreground_fraction, priorities)

    # Foreground first, then background, then rows that are not valid.
    rank = tf.where(foreground, 2, tf.where(background, 1, 0))
    chosen = tf.argsort(rank, axis=-1, direction="DESCENDING", stable=True)[:, :batch_size]
    foreground, background = _rows(foreground, chosen), _rows(background, chosen)
    boxes, best = _rows(boxes, chosen), _rows(best, chosen)
    deltas = box_ops.encode(_rows(gt.boxes, best), boxes) / tf.constant(delta_std, tf.float32)
    return RoITargets(
        boxes=tf.where((foreground | background)[..., None], boxes, 0.0),
        classes=tf.where(foreground, _rows(gt.classes, best), 0),
        deltas=tf.where(foreground[..., None], deltas, 0.0),
        valid=foreground | background,
    )


def _rows(values, indices):
    """values (B, N, ...), indices (B, M) -> (B, M, ...); a row of zeros for an index beyond N, as N may be 0."""
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (values.shape.rank - 2))
    return tf.gather(padded, indices, batch_dims=1)
