"""From the RPN's raw outputs to proposals (section 3.3): decode, clip, drop small boxes, keep the best, NMS.

Axes: B images, A anchors, P proposals.  Boxes are float32 in the order y0, x0, y1, x1, in pixels of the resized images.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import Proposals, RPNOutput, Tensor
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.rules.suppression import for_each_image, is_finite, suppress, without_nan


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
    """Make the proposals of each image, by descending score (section 3.3).

    No gradient flows through proposals: with it the loss diverges.

    Args:
        output: Raw outputs of the RPN for the A anchors.
        anchors: (A, 4).
        candidates: (B, A) bool, false for anchors on the padding of an image.
        image_sizes: (B, 2) int32, height and width in pixels of the resized images.
        min_size: The shortest side of a proposal after clipping, in pixels.
        pre_nms_topk: The highest number of boxes that enter NMS; 0 sets no limit.
        post_nms_topk: P, the highest number of proposals to keep.
        iou_threshold: NMS drops a box whose IoU with a better box is over this.

    Returns:
        Proposals with P rows; rows that are not valid hold zeros.
    """
    scores = tf.stop_gradient(tf.nn.softmax(tf.cast(output.logits, tf.float32))[..., 1])
    deltas = tf.stop_gradient(tf.cast(output.deltas, tf.float32))
    boxes = box_ops.clip(box_ops.decode(deltas, anchors[None]), image_sizes)
    large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= min_size, axis=-1)
    # A NaN score must not take a place among the best: its rank in top_k depends on the device.
    valid = candidates & large & is_finite(scores) & without_nan(deltas)

    if pre_nms_topk:
        count = tf.minimum(pre_nms_topk, tf.shape(scores)[1])
        _, top = tf.math.top_k(tf.where(valid, scores, -1.0), count)
        boxes, scores, valid = (tf.gather(value, top, batch_dims=1) for value in (boxes, scores, valid))

    def one_image(inputs: tuple[Tensor, Tensor, Tensor]) -> Proposals:
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
