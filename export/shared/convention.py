"""TensorFlow's convention for the outputs of detectors: names, order, and boxes as shares of the picture's sides."""

import tensorflow as tf

from keras_frcnn.facts.structures import Detections, Tensor


def detection_outputs(detections: Detections, image_sizes: Tensor) -> dict[str, Tensor]:
    """Detections in B images (B, N, ...) under the names of DETECTION_OUTPUTS, all float32.

    Boxes (B, N, 4) are yxyx from 0 to 1.  Rows that are not valid come after the valid ones and hold zeros.

    Args:
      detections: with boxes in pixels.
      image_sizes: (B, 2) int32, height and width of the images in these pixels.
    """
    return {
        "detection_boxes": zero_to_one(detections.boxes, image_sizes),
        "detection_classes": tf.cast(detections.classes, tf.float32),
        "detection_scores": detections.scores,
        "num_detections": tf.reduce_sum(tf.cast(detections.valid, tf.float32), axis=-1),
    }


def zero_to_one(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Boxes (B, N, 4) in pixels of images of `image_sizes` (B, 2) as shares of the images' sides."""
    # A division and not a product with the reciprocal: a box at the border must end at exactly 1.
    return boxes / tf.cast(tf.tile(image_sizes, [1, 2]), tf.float32)[:, None]
