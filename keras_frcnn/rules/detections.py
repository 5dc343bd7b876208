"""From the detector's raw outputs to detections: decode, clip, threshold and NMS within each class.

The rules are those of the released test code, with the thresholds of `config.TestConfig`.

Axes: B images, P proposals, C classes with background, D detections.  Boxes are float32 in the order y0, x0, y1, x1, in
pixels of the resized images.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import Detections, HeadOutput, Proposals, Tensor
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.rules.suppression import for_each_image, suppress, without_nan


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
    """Make the detections of each image, by descending score.

    NMS runs within each class, so objects of different classes may overlap.  The best of all classes remain.

    Args:
        output: Raw outputs of the head for the P proposals and C classes.
        proposals: The regions that the head classified.
        image_sizes: (B, 2) int32, height and width in pixels of the resized images.
        delta_std: The standard deviations by which the deltas (ty, tx, th, tw) are normalised.
        score_threshold: Detections have a score over this.
        iou_threshold: NMS drops a box whose IoU with a better box of its class is over this.
        max_detections: D, the highest number of detections to keep.

    Returns:
        Detections with D rows; rows that are not valid hold zeros.
    """
    scores = tf.nn.softmax(tf.cast(output.logits, tf.float32))[..., 1:]  # (B, P, C-1), without background
    deltas = tf.cast(output.deltas, tf.float32)[:, :, 1:] * tf.constant(delta_std, tf.float32)
    boxes = box_ops.decode(deltas, proposals.boxes[:, :, None])  # (B, P, C-1, 4)
    valid = proposals.valid[:, :, None] & without_nan(deltas)  # (B, P, C-1)

    def one_image(inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Detections:
        boxes, scores, valid, image_size = inputs
        boxes = box_ops.clip(tf.transpose(boxes, [1, 0, 2]), image_size[None])  # (C-1, P, 4)
        valid &= scores > score_threshold
        # One NMS after another in the graph, without a loop: TFLite's own operations cannot express the loop.
        by_class = [
            _one_class(boxes[c], scores[:, c], valid[:, c], iou_threshold, max_detections)
            for c in range(boxes.shape[0])
        ]
        return _best_of_all_classes(by_class, max_detections)

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


def _one_class(
    boxes: Tensor, scores: Tensor, valid: Tensor, iou_threshold: float, max_detections: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply NMS to one class of one image.

    Args:
        boxes: (P, 4).
        scores: (P,).
        valid: (P,) bool.
        iou_threshold: See `make_detections`.
        max_detections: D, see `make_detections`.

    Returns:
        Boxes (D, 4), scores (D,) and kept (D,) bool, by descending score.  The score of a row not kept is 0.
    """
    indices, kept = suppress(boxes, scores, valid, max_detections, iou_threshold)
    boxes, scores = tf.pad(boxes, [[0, 1], [0, 0]]), tf.pad(scores, [[0, 1]])  # a row to gather if P is 0
    return tf.gather(boxes, indices), tf.where(kept, tf.gather(scores, indices), 0.0), kept


def _best_of_all_classes(by_class: list[tuple[Tensor, Tensor, Tensor]], max_detections: int) -> Detections:
    """Merge the results of `_one_class` for the classes 1..C-1 of one image and keep the D best."""
    boxes, scores, kept = (tf.concat(field, axis=0) for field in zip(*by_class, strict=True))
    classes = tf.repeat(tf.range(1, len(by_class) + 1), max_detections)
    # Kept scores are over the threshold and all others are 0, so the kept rows come first.
    scores, best = tf.math.top_k(scores, max_detections)
    kept = tf.gather(kept, best)
    return Detections(
        boxes=tf.where(kept[:, None], tf.gather(boxes, best), 0.0),
        classes=tf.where(kept, tf.gather(classes, best), 0),
        scores=scores,
        valid=kept,
    )
