"""From the RPN's raw outputs to proposals (section 3.3): decode, clip, drop small, top-k, NMS, pad.

Also what proposals and detections share: the one non-maximum suppression, and the way over the images of a batch.
"""

import tensorflow as tf

from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.facts.structures import Proposals, RPNOutput


def is_finite(x):
    """Which elements of a float tensor are numbers.  `tf.math.is_finite` has no counterpart in TFLite; this has."""
    return tf.abs(x) < float("inf")


def for_each_image(function, values, signature):
    """`function` of each image's slice of `values` (a tuple of (B, ...)), stacked; `signature` as of `tf.map_fn`.

    A batch that is known to be of one image takes no loop: TFLite cannot write that loop in its own operations.
    """
    if values[0].shape[0] != 1:
        return tf.map_fn(function, values, fn_output_signature=signature)
    return tf.nest.map_structure(lambda value: value[None], function(tuple(value[0] for value in values)))


def suppress(boxes, scores, valid, count: int, iou_threshold: float):
    """Greedy NMS of one image: boxes (N, 4), scores (N,), valid (N,) -> indices (count,) int32, kept (count,) bool.

    Best first, of equal scores the first; a box falls when its IoU with a kept one is over `iou_threshold`.  Boxes that
    are not valid, without area, or with a corner or score that is no number, are never kept: NMS over NaN would
    silently return indices, and TFLite's returns a box without area again and again.
    """
    finite = tf.reduce_all(is_finite(boxes), axis=-1) & is_finite(scores)
    usable = valid & finite & (box_ops.area(boxes) > 0.0)
    number_of_boxes = tf.shape(scores)[0]
    # Ranks take the place of scores, as TensorFlow's kernel and TFLite's order equal scores differently.
    _, order = tf.math.top_k(tf.where(usable, scores, -float("inf")), number_of_boxes)
    ranks = tf.cast(tf.range(number_of_boxes, 0, -1), tf.float32)
    # The kernel leaves out scores that are not above the threshold, so -inf never comes back.
    indices, number = tf.raw_ops.NonMaxSuppressionV4(
        boxes=tf.gather(boxes, order),
        scores=tf.where(tf.gather(usable, order), ranks, -float("inf")),
        max_output_size=count,
        iou_threshold=iou_threshold,
        score_threshold=-float("inf"),
        pad_to_max_output_size=True,
    )
    order = tf.pad(order, [[0, 1]])  # one to gather where there are no boxes
    return tf.gather(order, indices), tf.range(count) < number


def make_proposals(
    output: RPNOutput, anchors, candidates, image_sizes, *, min_size, pre_nms_topk, post_nms_topk, iou_threshold
) -> Proposals:
    """Proposals of each image, best first, `post_nms_topk` rows.

    output over A anchors (A, 4); candidates (B, A) bool are the anchors that stand on the image; image_sizes (B, 2).
    `pre_nms_topk` 0 puts no cut before NMS.  Gradients do not flow through proposals: with them the loss diverges.
    """
    scores = tf.stop_gradient(tf.nn.softmax(tf.cast(output.logits, tf.float32))[..., 1])
    deltas = tf.stop_gradient(tf.cast(output.deltas, tf.float32))
    boxes = box_ops.clip(box_ops.decode(deltas, anchors[None]), image_sizes)
    large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= min_size, axis=-1)
    # A score that is no number must not take a place in the cut: top_k ranks it as the best.
    valid = candidates & large & is_finite(scores)

    if pre_nms_topk:
        count = tf.minimum(pre_nms_topk, tf.shape(scores)[1])
        _, top = tf.math.top_k(tf.where(valid, scores, -1.0), count)
        boxes, scores, valid = (tf.gather(value, top, batch_dims=1) for value in (boxes, scores, valid))

    def one_image(inputs):
        boxes, scores, valid = inputs
        indices, kept = suppress(boxes, scores, valid, post_nms_topk, iou_threshold)
        return Proposals(
            boxes=tf.where(kept[:, None], tf.gather(boxes, indices), 0.0),
            scores=tf.where(kept, tf.gather(scores, indices), 0.0),
            valid=kept,
        )

    return for_each_image(
        one_image,
        (boxes, scores, valid),
        Proposals(
            tf.TensorSpec([post_nms_topk, 4], tf.float32),
            tf.TensorSpec([post_nms_topk], tf.float32),
            tf.TensorSpec([post_nms_topk], tf.bool),
        ),
    )
