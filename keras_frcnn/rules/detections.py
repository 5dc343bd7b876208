"""From the detector's raw outputs to detections (section 3.3): decode, threshold and NMS within each class."""

import tensorflow as tf

from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.rules.proposals import for_each_image, suppress, without_nan
from keras_frcnn.facts.structures import Detections, HeadOutput, Proposals, Tensor


def make_detections(
    output: HeadOutput,
    proposals: Proposals,
    image_sizes: Tensor,
    *,
    delta_std: tuple[float, float, float, float],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> Detections:
    """Detections of each image in pixels of the resized image, best first, `max_detections` rows (section 3.3).

    output over P proposals and C classes; image_sizes (B, 2).  NMS runs within each class, so objects of different
    classes may overlap.  The `max_detections` best scores of all classes remain.
    """
    scores = tf.nn.softmax(tf.cast(output.logits, tf.float32))[..., 1:]  # (B, P, C-1): background is no detection
    deltas = tf.cast(output.deltas, tf.float32)[:, :, 1:] * tf.constant(delta_std, tf.float32)
    boxes = box_ops.decode(deltas, proposals.boxes[:, :, None])  # (B, P, C-1, 4)
    valid = proposals.valid[:, :, None] & without_nan(deltas)  # (B, P, C-1)
    number_of_classes = boxes.shape[2]

    def one_class(boxes, scores, valid):
        indices, kept = suppress(boxes, scores, valid & (scores > score_threshold), max_detections, iou_threshold)
        boxes, scores = tf.pad(boxes, [[0, 1], [0, 0]]), tf.pad(scores, [[0, 1]])  # a row to gather where P is 0
        return tf.gather(boxes, indices), tf.where(kept, tf.gather(scores, indices), 0.0), kept

    def one_image(inputs):
        boxes, scores, valid, image_size = inputs
        boxes = box_ops.clip(tf.transpose(boxes, [1, 0, 2]), image_size[None])
        # One NMS after another in the graph, not a loop: TFLite cannot write that loop in its own operations.
        by_class = [one_class(boxes[c], scores[:, c], valid[:, c]) for c in range(number_of_classes)]
        boxes, scores, kept = (tf.concat(field, axis=0) for field in zip(*by_class, strict=True))
        classes = tf.repeat(tf.range(1, number_of_classes + 1), max_detections)
        # Kept scores are over the threshold, others 0, so that the best come first and the rest is not valid.
        scores, best = tf.math.top_k(scores, max_detections)
        kept = tf.gather(kept, best)
        return Detections(
            boxes=tf.where(kept[:, None], tf.gather(boxes, best), 0.0),
            classes=tf.where(kept, tf.gather(classes, best), 0),
            scores=scores,
            valid=kept,
        )

    return for_each_image(
        one_image,
        (boxes, scores, valid, image_sizes),
        Detections(
            tf.TensorSpec([max_detections, 4], tf.float32),
            tf.TensorSpec([max_detections], tf.int32),
            tf.TensorSpec([max_detections], tf.float32),
            tf.TensorSpec([max_detections], tf.bool),
        ),
    )
