"""From the RPN's raw outputs to proposals (section 3.3): decode, clip, drop small boxes, top-k, NMS, pad.

Proposals and detections share this file's non-maximum suppression and its loop over the images of a batch.
docs/kernels.md lists where TensorFlow's kernels differ between devices.
"""

import tensorflow as tf

from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.facts.structures import Proposals, RPNOutput, Tensor


def is_finite(x: Tensor) -> Tensor:
    """Which elements of a float tensor are neither NaN nor infinite.  `tf.math.is_finite` has no TFLite counterpart."""
    return tf.abs(x) < float("inf")


def without_nan(deltas: Tensor) -> Tensor:
    """Which rows of (..., 4) deltas hold no NaN: (...) bool.

    `box_ops.decode` and `box_ops.clip` use maximum and minimum.  Some kernels of these two pass a NaN on, and others
    replace it by the other argument, which turns a NaN delta into an ordinary box.
    """
    return tf.reduce_all((deltas >= 0.0) | (deltas < 0.0), axis=-1)


def for_each_image(function, values, signature):
    """`function` of each image's slice of `values` (a tuple of (B, ...)), stacked; `signature` as of `tf.map_fn`.

    A batch that is known to be of one image takes no loop: TFLite cannot write that loop in its own operations.
    """
    if values[0].shape[0] != 1:
        return tf.map_fn(function, values, fn_output_signature=signature)
    return tf.nest.map_structure(lambda value: value[None], function(tuple(value[0] for value in values)))


def suppress(boxes: Tensor, scores: Tensor, valid: Tensor, count: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Greedy NMS of one image: boxes (N, 4), scores (N,), valid (N,) -> indices (count,) int32, kept (count,) bool.

    The kept boxes come first, in order of their scores; of equal scores the first listed is best.  A box is dropped
    if its IoU with a kept box is over `iou_threshold`.  Boxes that are not valid, have no area, or have a NaN or
    infinite corner or score are never kept.  Indices of rows that are not kept can be gathered but mean nothing.
    """
    finite = tf.reduce_all(is_finite(boxes), axis=-1) & is_finite(scores)
    usable = valid & finite & (box_ops.area(boxes) > 0.0)
    number_of_boxes = tf.shape(scores)[0]
    # Ranks replace the scores, because TensorFlow's and TFLite's kernels order equal scores differently.
    _, order = tf.math.top_k(tf.where(usable, scores, -float("inf")), number_of_boxes)
    ranks = tf.cast(tf.range(number_of_boxes, 0, -1), tf.float32)
    ranks = tf.where(tf.gather(usable, order), ranks, 0.0)
    boxes = tf.gather(tf.where(usable[:, None], boxes, 0.0), order)
    # One more row, never kept: TensorFlow's GPU kernel does not set its outputs for an empty list of boxes.
    order, ranks = tf.pad(order, [[0, 1]]), tf.pad(ranks, [[0, 1]])
    indices, number = tf.raw_ops.NonMaxSuppressionV4(
        boxes=tf.pad(boxes, [[0, 1], [0, 0]]),
        scores=ranks,
        max_output_size=count,
        iou_threshold=iou_threshold,
        # Usable boxes have ranks from 1, others 0.  The GPU kernel ignores a threshold of -inf or the lowest float.
        score_threshold=0.5,
        pad_to_max_output_size=True,
    )
    kept = tf.range(count) < number
    # The GPU kernel leaves the indices uninitialised if no rank is over the threshold.
    return tf.gather(order, tf.where(kept, indices, 0)), kept


def make_proposals(
    output: RPNOutput,
    anchors: Tensor,
    candidates: Tensor,
    image_sizes: Tensor,
    *,
    min_size: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    iou_threshold: float,
) -> Proposals:
    """Proposals of each image, best first, `post_nms_topk` rows, in pixels of the resized images (section 3.3).

    output over A anchors (A, 4); candidates (B, A) bool are the anchors on the image itself; image_sizes (B, 2).
    NMS sees the `pre_nms_topk` best boxes, or all if it is 0.  No gradient flows through proposals: with it the loss
    diverges.
    """
    scores = tf.stop_gradient(tf.nn.softmax(tf.cast(output.logits, tf.float32))[..., 1])
    deltas = tf.stop_gradient(tf.cast(output.deltas, tf.float32))
    boxes = box_ops.clip(box_ops.decode(deltas, anchors[None]), image_sizes)
    large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= min_size, axis=-1)
    # A NaN score must not take a place in the cut: where top_k ranks it depends on the device.
    valid = candidates & large & is_finite(scores) & without_nan(deltas)

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
