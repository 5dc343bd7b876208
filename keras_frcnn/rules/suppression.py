"""Non-maximum suppression, and the helpers that proposals and detections share.

docs/kernels.md lists the TensorFlow kernels that differ between devices.

Axes: B images, N boxes.  Boxes are float32 in the order y0, x0, y1, x1, in pixels of the resized images.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor
from keras_frcnn.geometry import boxes as box_ops


def is_finite(x: Tensor) -> Tensor:
    """Mark the elements of a float tensor that are neither NaN nor infinite: bool, in the shape of `x`.

    This stands in for `tf.math.is_finite`, which TFLite's own operations cannot express.
    """
    return tf.abs(x) < float("inf")


def without_nan(deltas: Tensor) -> Tensor:
    """Mark the rows of `deltas` (..., 4) that hold no NaN: (...) bool.

    `box_ops.decode` and `box_ops.clip` use minimum and maximum.  For a NaN, some kernels of these two return NaN and
    others return the other argument, which turns a NaN delta into an ordinary box.
    """
    return tf.reduce_all((deltas >= 0.0) | (deltas < 0.0), axis=-1)


def for_each_image(function: Callable[[tuple[Tensor, ...]], Any], values: tuple[Tensor, ...], signature: Any) -> Any:
    """Apply a function to each image of a batch and stack the results.

    If the batch size is known to be 1, the graph contains no loop.  TFLite's own operations cannot express the loop.

    Args:
        function: Takes a tuple with one image's slice of each of `values`.
        values: Tensors (B, ...).
        signature: A `tf.TensorSpec` for each tensor of the function's result, in the same structure.

    Returns:
        The structure of `signature`; each tensor has B rows.
    """
    if values[0].shape[0] != 1:
        return tf.map_fn(function, values, fn_output_signature=signature)
    return tf.nest.map_structure(lambda value: value[None], function(tuple(value[0] for value in values)))


def suppress(boxes: Tensor, scores: Tensor, valid: Tensor, count: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Choose boxes of one image by greedy non-maximum suppression (NMS; section 3.3).

    A box is dropped if its IoU with a kept box of a higher score is over `iou_threshold`.  Of two equal scores, the
    box with the lower index counts as higher.  Boxes that are not valid, that have no area, or whose corners or score
    are NaN or infinite are never kept.

    Args:
        boxes: (N, 4).
        scores: (N,).
        valid: (N,) bool.
        count: The number of rows to return, and the highest number of boxes to keep.
        iou_threshold: In [0, 1].

    Returns:
        Indices (count,) int32 of the kept boxes, by descending score, and (count,) bool: the rows that hold a kept
        box, which come first.  The other indices have no meaning.  They are safe to gather if N is at least 1.
    """
    finite = tf.reduce_all(is_finite(boxes), axis=-1) & is_finite(scores)
    usable = valid & finite & (box_ops.area(boxes) > 0.0)
    number_of_boxes = tf.shape(scores)[0]
    # Ranks replace the scores, because TensorFlow's and TFLite's kernels order equal scores differently.
    _, order = tf.math.top_k(tf.where(usable, scores, -float("inf")), number_of_boxes)
    ranks = tf.cast(tf.range(number_of_boxes, 0, -1), tf.float32)
    ranks = tf.where(tf.gather(usable, order), ranks, 0.0)
    boxes = tf.gather(tf.where(usable[:, None], boxes, 0.0), order)
    # Add a row that is never kept: TensorFlow's GPU kernel does not set its outputs for an empty list of boxes.
    order, ranks = tf.pad(order, [[0, 1]]), tf.pad(ranks, [[0, 1]])
    indices, number = tf.raw_ops.NonMaxSuppressionV4(
        boxes=tf.pad(boxes, [[0, 1], [0, 0]]),
        scores=ranks,
        max_output_size=count,
        iou_threshold=iou_threshold,
        # Usable boxes have a rank of at least 1, all others 0.  The GPU kernel ignores thresholds of -inf and of the
        # lowest float.
        score_threshold=0.5,
        pad_to_max_output_size=True,
    )
    kept = tf.range(count) < number
    # The GPU kernel leaves the indices uninitialised if no rank is over the threshold.
    return tf.gather(order, tf.where(kept, indices, 0)), kept
