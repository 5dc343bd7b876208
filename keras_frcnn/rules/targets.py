"""Training targets of the RPN and of the detector: matching by IoU and balanced sampling.

Axes: B images, N boxes of any kind, A anchors, P proposals, R sampled RoIs, G ground-truth objects.

Boxes are float32 in the order y0, x0, y1, x1, in pixels of the resized image.  All functions are pure.  Random choices
depend only on the seed of each image.  Targets have no gradient: callers stop the gradients of the boxes that they
pass.

Sections without another name are those of the Faster R-CNN paper.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import GroundTruth, Proposals, RoITargets, RPNTargets, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness


def match(ious: Tensor, gt_valid: Tensor) -> tuple[Tensor, Tensor]:
    """Find the object with the highest IoU for every box.

    If several objects tie, the first one wins.  If no object is valid, the index and the IoU are 0.

    Args:
        ious: (B, N, G), the IoU of each box with each object.
        gt_valid: (B, G) bool, false for padding.

    Returns:
        The index of the object, (B, N) int32, and its IoU, (B, N).
    """
    ious = tf.where(gt_valid[:, None, :], ious, 0.0)
    # G may be 0.  A column of zeros gives a maximum of 0 instead of an error.
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]])
    best_iou = tf.reduce_max(ious, axis=-1)
    best = tf.argmax(ious, axis=-1, output_type=tf.int32)  # of a tie, the first
    return best, best_iou


def anchor_ious(anchors: Tensor, areas: Tensor, gt_boxes: Tensor) -> Tensor:
    """IoU of every anchor with every object: anchors (A, 4), areas (A,), gt_boxes (B, G, 4) -> (B, A, G).

    If two IoUs are equal in exact arithmetic, they must be the same float32 number.  Otherwise rounding would decide
    which anchors have the highest IoU with an object.  The corners of anchors and objects are therefore multiples of
    `boxes.GRID`, and all anchors of one shape have the same area, in square pixels (`anchors.base_areas`).
    """
    return box_ops.pairwise_iou(anchors[None], box_ops.snap(gt_boxes), areas[None])


def label_anchors(
    ious: Tensor, gt_valid: Tensor, candidates: Tensor, positive_iou: float, negative_iou: float
) -> Tensor:
    """Label each anchor as positive, negative or ignored (section 3.1.2).

    A candidate is positive if its IoU with some object is at least `positive_iou`, or if no candidate has a higher IoU
    with that object.  All candidates that tie for the highest IoU are positive.  An object that no candidate overlaps
    has no positive anchor.  A candidate that is not positive is negative if its IoU with every object is below
    `negative_iou`.  All other anchors are ignored.

    Args:
        ious: (B, A, G), the IoU of each anchor with each object.
        gt_valid: (B, G) bool, false for padding.
        candidates: (B, A) bool, the anchors that may be used; the others are ignored.
        positive_iou: 0.7 in the paper.
        negative_iou: 0.3 in the paper.

    Returns:
        Labels (B, A) int32: 1 positive, 0 negative, -1 ignored.
    """
    # Objects of the padding and anchors that are not candidates get an IoU below every real one.
    ious = tf.where(gt_valid[:, None, :] & candidates[:, :, None], ious, -1.0)
    ious = tf.pad(ious, [[0, 0], [0, 0], [0, 1]], constant_values=-1.0)
    highest_of_object = tf.reduce_max(ious, axis=1, keepdims=True)
    is_highest = tf.reduce_any((ious == highest_of_object) & (ious > 0.0), axis=-1)
    best_iou = tf.reduce_max(ious, axis=-1)
    positive = candidates & (is_highest | (best_iou >= positive_iou))
    negative = candidates & (best_iou < negative_iou) & ~positive
    return tf.where(positive, 1, tf.where(negative, 0, -1))


def _keep_highest(mask: Tensor, priorities: Tensor, counts: Tensor, most: int) -> Tensor:
    """Keep the true entries of `mask` (B, N) with the highest `priorities` (B, N), at most `counts` (B,) in each row.

    No count is above `most`.  If priorities are equal, the first entries win, and no row keeps too many.
    """
    lowest, size = tf.as_dtype(priorities.dtype).min, tf.shape(mask)[1]
    highest, places = tf.math.top_k(tf.where(mask, priorities, lowest), tf.minimum(most, size))
    kept = (highest > lowest) & (tf.range(tf.shape(places)[1])[None] < counts[:, None])
    return _scatter(tf.cast(kept, tf.float32), places, size) > 0.0


def _scatter(values: Tensor, places: Tensor, size: Tensor) -> Tensor:
    """Put `values` (B, M) at different `places` (B, M) of rows of zeros (B, `size`)."""
    rows = tf.shape(values)[0]
    flat = tf.reshape(places + size * tf.range(rows)[:, None], [-1, 1])
    return tf.reshape(tf.scatter_nd(flat, tf.reshape(values, [-1]), [rows * size]), [rows, size])


def sample_balanced(
    positive: Tensor, negative: Tensor, count: int, positive_fraction: float, priorities: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose at most `count` boxes of each image, with a limited share of positives (section 3.1.3).

    If there are too few positives, negatives fill the sample.  The reverse never happens.

    Args:
        positive, negative: (B, N) bool.  No box is both.
        count: The size of the sample.
        positive_fraction: The largest share of positives in a full sample; their number is rounded down.
        priorities: (B, N) floats.  The boxes with the highest values are chosen: random values give a random sample.

    Returns:
        The chosen positives and the chosen negatives, both (B, N) bool.
    """
    most_positive = tf.fill([tf.shape(positive)[0]], int(count * positive_fraction))
    positive = _keep_highest(positive, priorities, most_positive, count)
    rest = count - tf.reduce_sum(tf.cast(positive, tf.int32), axis=-1)
    return positive, _keep_highest(negative, priorities, rest, count)


def take_turns(chosen_from: Tensor, owners: Tensor, priorities: Tensor) -> Tensor:
    """Change priorities so that the objects take turns.

    If boxes are chosen by the new priorities, the best box of each object comes first, then the second of each, and so
    on.  So an object with few boxes is not crowded out by one with many.  Within a turn, the old priorities decide.

    Args:
        chosen_from: (B, N) bool, the boxes that take turns.  The others keep their priorities.
        owners: (B, N) int32, the object of each box.
        priorities: (B, N) float32 in [0, 1).

    Returns:
        (B, N) float64: the old priority less the number of the turn, which is 0 for the best box of each object.
    """
    priorities, size = tf.cast(priorities, tf.float64), tf.shape(priorities)[1]
    # Sorted by object, then by descending priority.  The other boxes belong to object -1.
    owners = tf.where(chosen_from, owners, -1)
    order = tf.argsort(tf.cast(owners, tf.float64) - priorities, axis=-1, stable=True)
    owners = tf.gather(owners, order, batch_dims=1)
    turns = tf.range(size)[None] - tf.searchsorted(owners, owners, side="left")
    return tf.where(chosen_from, priorities - _scatter(tf.cast(turns, tf.float64), order, size), priorities)


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
    balanced: bool = False,
) -> RPNTargets:
    """Sample anchors of each image for training, with their labels and deltas (sections 3.1.2, 3.1.3 and 3.3).

    Anchors that cross the border of an image are ignored, and so are those of the padding.

    Args:
        anchors: (h, w, k, 4), the k anchors of each cell of the batch's feature map.
        areas: (k,) in square pixels.
        image_sizes: (B, 2) int32, height and width of each image in pixels.
        gt: The objects.
        seeds: (B, 2) int32, the random seed of each image.
        stride: Pixels between two feature cells.
        widest: The largest w of any batch.  It makes the random number of an anchor the same in every padded batch.
        positive_iou, negative_iou: See `label_anchors`.
        batch_size: The most anchors sampled from one image.
        positive_fraction: The largest share of positives among them.
        balanced: Whether the objects take turns in the choice of positives, see `take_turns`.

    Returns:
        The label of every anchor, -1 if it was not sampled, and the deltas to the best object of the positive anchors.
    """
    height, width, per_cell = tf.unstack(tf.shape(anchors)[:3])
    anchors, areas = tf.reshape(anchors, [-1, 4]), tf.tile(areas, [height * width])
    inside = anchor_rules.inside_image(anchors, image_sizes)
    candidates = inside & anchor_rules.on_feature_cells(anchors, image_sizes, stride)
    ious = anchor_ious(anchors, areas, gt.boxes)
    labels = label_anchors(ious, gt.valid, candidates, positive_iou, negative_iou)
    priorities = randomness.uniform_on_grid(seeds, randomness.ANCHOR_SAMPLING, (height, width, per_cell), widest)
    best, _ = match(ious, gt.valid)
    if balanced:
        priorities = take_turns(labels == 1, best, priorities)
    positive, negative = sample_balanced(labels == 1, labels == 0, batch_size, positive_fraction, priorities)
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
    balanced: bool = False,
) -> RoITargets:
    """Sample RoIs of each image for training, with their classes and deltas (Girshick 2015, section 2.3).

    RoIs are sampled from the proposals and the ground-truth boxes together.

    Args:
        proposals: The proposals.
        gt: The objects.
        seeds: (B, 2) int32, the random seed of each image.
        foreground_iou: A RoI with at least this IoU with some object is foreground.
        background_iou: RoIs with an IoU from this to below `foreground_iou` are background.  The rest is never sampled.
        batch_size: R, the RoIs sampled from one image.
        foreground_fraction: The largest share of foreground among them.
        delta_std: The deltas ty, tx, th, tw are divided by these.
        balanced: Whether the objects take turns in the choice of foreground, see `take_turns`.

    Returns:
        R rows for each image: first foreground, then background.  If there are too few RoIs, the rest is not valid.
    """
    boxes = tf.concat([proposals.boxes, gt.boxes], axis=1)
    valid = tf.concat([proposals.valid, gt.valid], axis=1)
    # Pad to at least `batch_size` rows, so that there are always `batch_size` rows to choose.
    short = tf.maximum(batch_size - tf.shape(boxes)[1], 0)
    boxes = tf.pad(boxes, [[0, 0], [0, short], [0, 0]])
    valid = tf.pad(valid, [[0, 0], [0, short]])

    best, best_iou = match(box_ops.pairwise_iou(boxes, gt.boxes), gt.valid)
    foreground = valid & (best_iou >= foreground_iou)
    background = valid & (best_iou < foreground_iou) & (best_iou >= background_iou)
    # Objects have their own random stream, because their numbers must not depend on the padding of the proposals.
    of_proposals = randomness.uniform(seeds, randomness.ROI_SAMPLING, [tf.shape(proposals.boxes)[1]])
    of_objects = randomness.uniform(seeds, randomness.OBJECT_SAMPLING, [tf.shape(gt.boxes)[1]])
    priorities = tf.pad(tf.concat([of_proposals, of_objects], axis=1), [[0, 0], [0, short]])
    if balanced:
        priorities = take_turns(foreground, best, priorities)
    foreground, background = sample_balanced(foreground, background, batch_size, foreground_fraction, priorities)

    # Foreground first, then background, then rows that are not valid.
    rank = tf.where(foreground, 2, tf.where(background, 1, 0))
    _, chosen = tf.math.top_k(rank, batch_size)
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
    """Gather rows of each image: values (B, N, ...), indices (B, M) -> (B, M, ...).  If N is 0, index 0 gives zeros."""
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (values.shape.rank - 2))
    return tf.gather(padded, indices, batch_dims=1)
