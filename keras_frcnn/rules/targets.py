"""Training targets of the RPN and of the detector: matching by IoU and balanced sampling.

Axes: B images, A anchors, P proposals, R sampled RoIs, G ground-truth objects.  Boxes are float32, yxyx, pixels of the
resized image.  All functions are pure; both rules take one random seed for each image.  No gradient flows through
targets: callers stop the gradients of the boxes that they pass.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import GroundTruth, Proposals, RoITargets, RPNTargets, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness


def match(ious: Tensor, gt_valid: Tensor) -> tuple[Tensor, Tensor]:
    """The best object of every box: ious (B, N, G), gt_valid (B, G) -> best index (B, N) int32, best IoU (B, N).

    If objects tie, the first one wins.  If no object is valid, the index is 0 and the IoU is 0.
    """
    ious = tf.where(gt_valid[:, None, :], ious, 0.0)
    # With one more column, the maximum over no objects is 0, not an error.
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]])
    best_iou = tf.reduce_max(ious, axis=-1)
    best = tf.argmax(ious, axis=-1, output_type=tf.int32)  # the first of equals
    return best, best_iou


def anchor_ious(anchors: Tensor, areas: Tensor, gt_boxes: Tensor) -> Tensor:
    """IoU of anchors with objects: (A, 4), (A,), (B, G, 4) -> (B, A, G).

    Mathematically equal IoUs must be equal numbers, or float32 rounding decides which anchors have the highest IoU with
    an object.  So all corners are multiples of `boxes.GRID`, and anchors of one scale share one area (`base_areas`).
    """
    return box_ops.pairwise_iou(anchors[None], box_ops.snap(gt_boxes), areas[None])


def label_anchors(
    ious: Tensor, gt_valid: Tensor, candidates: Tensor, positive_iou: float, negative_iou: float
) -> Tensor:
    """Label anchors (section 3.1.2): ious (B, A, G), gt_valid (B, G), candidates (B, A) bool -> labels (B, A) int32.

    1: the IoU with some object is at least `positive_iou`, or is the highest IoU of any candidate with that object.
    All candidates that tie for the highest IoU are positive.  An object that no candidate overlaps has no positive.
    0: the IoU with every object is below `negative_iou`.
    -1: all other anchors, and those that are not candidates.
    """
    # Padding and anchors that are not candidates get an IoU below every real one.
    ious = tf.where(gt_valid[:, None, :] & candidates[:, :, None], ious, -1.0)
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]], constant_values=-1.0)
    highest_of_object = tf.reduce_max(ious, axis=1, keepdims=True)
    is_highest = tf.reduce_any((ious == highest_of_object) & (ious > 0.0), axis=-1)
    best_iou = tf.reduce_max(ious, axis=-1)
    positive = candidates & (is_highest | (best_iou >= positive_iou))
    negative = candidates & (best_iou < negative_iou) & ~positive
    return tf.where(positive, 1, tf.where(negative, 0, -1))


def _keep_highest(mask: Tensor, priorities: Tensor, counts: Tensor) -> Tensor:
    """Keep at most `counts` (B,) True entries of each row of `mask` (B, N): those with the highest priorities (B, N).

    Entries are compared by rank, so that equal priorities never keep more than `counts`.
    """
    order = tf.argsort(tf.where(mask, priorities, -1.0), axis=-1, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, axis=-1, stable=True)  # the inverse permutation
    return mask & (rank < counts[:, None])


def sample_balanced(
    positive: Tensor, negative: Tensor, count: int, positive_fraction: float, priorities: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose at most `count` boxes of each image, at most `positive_fraction` of them positive, by highest priority.

    positive, negative (B, N) bool, disjoint; priorities (B, N) in [0, 1), random numbers for a random choice.  If there
    are too few positives, negatives fill the sample; the reverse never happens.  Returns the chosen positives and the
    chosen negatives, both (B, N) bool.
    """
    most_positive = tf.fill([tf.shape(positive)[0]], int(count * positive_fraction))
    positive = _keep_highest(positive, priorities, most_positive)
    rest = count - tf.reduce_sum(tf.cast(positive, tf.int32), axis=-1)
    return positive, _keep_highest(negative, priorities, rest)


def rpn_targets(
    anchors: Tensor,
    areas: Tensor,
    image_sizes: Tensor,
    gt: GroundTruth,
    seeds: Tensor,
    *,
    stride: int,
    widest: int,
    positive_iou: float,
    negative_iou: float,
    batch_size: int,
    positive_fraction: float,
) -> RPNTargets:
    """Sample at most `batch_size` anchors of each image and give their labels and deltas (section 3.1.2).

    anchors (h, w, k, 4), the k anchors of each feature cell, and their areas (k,); image_sizes (B, 2); seeds (B, 2)
    int32.  Anchors that cross the border of an image or stand on its padding are ignored.  `widest` is the largest w of
    any batch: an anchor draws the same random number in a padded batch and alone.
    """
    height, width, per_cell = tf.unstack(tf.shape(anchors)[:3])
    anchors, areas = tf.reshape(anchors, [-1, 4]), tf.tile(areas, [height * width])
    inside = anchor_rules.inside_image(anchors, image_sizes)
    candidates = inside & anchor_rules.on_feature_cells(anchors, image_sizes, stride)
    ious = anchor_ious(anchors, areas, gt.boxes)
    labels = label_anchors(ious, gt.valid, candidates, positive_iou, negative_iou)
    priorities = randomness.uniform_on_grid(seeds, randomness.ANCHOR_SAMPLING, (height, width, per_cell), widest)
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
    seeds: Tensor,
    *,
    foreground_iou: float,
    background_iou: float,
    batch_size: int,
    foreground_fraction: float,
    delta_std: tuple[float, float, float, float],
) -> RoITargets:
    """Sample `batch_size` RoIs of each image and give their classes and deltas (Girshick 2015, section 2.3).

    RoIs are sampled from the proposals and the ground-truth boxes; seeds (B, 2) int32.  Foreground: highest IoU >=
    `foreground_iou`; background: highest IoU in [`background_iou`, `foreground_iou`).  If an image has too few of both,
    the remaining rows are not valid.
    """
    boxes = tf.concat([proposals.boxes, gt.boxes], axis=1)
    valid = tf.concat([proposals.valid, gt.valid], axis=1)
    # Pad to at least `batch_size` rows, so that the number of sampled rows is fixed.
    short = tf.maximum(batch_size - tf.shape(boxes)[1], 0)
    boxes = tf.pad(boxes, [[0, 0], [0, short], [0, 0]])
    valid = tf.pad(valid, [[0, 0], [0, short]])

    best, best_iou = match(box_ops.pairwise_iou(boxes, gt.boxes), gt.valid)
    foreground = valid & (best_iou >= foreground_iou)
    background = valid & (best_iou < foreground_iou) & (best_iou >= background_iou)
    # Objects have their own random stream: their numbers must not depend on how many proposals the batch is padded to.
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


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """Gather rows: values (B, N, ...), indices (B, M) -> (B, M, ...).  Index N gives zeros, because N may be 0."""
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (values.shape.rank - 2))
    return tf.gather(padded, indices, batch_dims=1)
