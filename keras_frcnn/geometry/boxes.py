"""Arithmetic of boxes, as pure functions.

Boxes are (..., 4) float32 in the order y0, x0, y1, x1, in pixels.  Corners are continuous: the width of a box is
x1 - x0, without the +1 of inclusive pixels.  Inputs may have any leading shape, except where a docstring gives one.

Sections and equations without another name are those of the Faster R-CNN paper.
"""

import math

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# A delta enlarges a box at most 1000/16 times; Detectron has the same limit.  Without it, exp() of the output of an
# untrained or diverged network would overflow, and NMS accepts infinite boxes without an error.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)

# Spacing of exact coordinates, in pixels.  Float32 holds every multiple of it up to 16384 pixels.  Sums and differences
# of such coordinates are therefore exact.
GRID = 2.0**-10


def snap(boxes: Tensor) -> Tensor:
    """Round the coordinates of (..., 4) boxes to the nearest multiple of `GRID`."""
    return tf.round(boxes / GRID) * GRID


def area(boxes: Tensor) -> Tensor:
    """Areas of boxes in square pixels: (..., 4) -> (...).  A box whose corners are swapped has area 0."""
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    return tf.maximum(y1 - y0, 0.0) * tf.maximum(x1 - x0, 0.0)


def pairwise_iou(a: Tensor, b: Tensor, areas_a: Tensor | None = None) -> Tensor:
    """Intersection over union (IoU) of every pair of boxes: (..., N, 4), (..., M, 4) -> (..., N, M).

    The IoU of two boxes without area is 0.  `areas_a` (..., N), in square pixels, replaces the areas of `a` that follow
    from its corners.
    """
    areas_a = area(a) if areas_a is None else areas_a
    top, left, bottom, right = tf.unstack(a[..., :, None, :], axis=-1)
    y0, x0, y1, x1 = tf.unstack(b[..., None, :, :], axis=-1)
    height, width = tf.minimum(bottom, y1) - tf.maximum(top, y0), tf.minimum(right, x1) - tf.maximum(left, x0)
    intersection = tf.maximum(height, 0.0) * tf.maximum(width, 0.0)
    union = areas_a[..., :, None] + area(b)[..., None, :] - intersection
    return intersection / tf.where(union > 0.0, union, 1.0)


def clip(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Clip the boxes (B, N, 4) of each image to the image; `image_sizes` (B, 2) are heights and widths in pixels."""
    limit = tf.cast(image_sizes, tf.float32)[:, None, :]
    return tf.minimum(tf.maximum(boxes, 0.0), tf.concat([limit, limit], axis=-1))


def flip_horizontally(boxes: Tensor, width: float | Tensor) -> Tensor:
    """Mirror boxes (..., 4) left to right in an image of `width` pixels."""
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    width = tf.cast(width, boxes.dtype)
    return tf.stack([y0, width - x1, y1, width - x0], axis=-1)


def to_resized_pixels(boxes: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> Tensor:
    """Convert boxes (..., N, 4) from pixels of the original images to pixels of the resized images.

    `image_sizes` and `original_sizes` (..., 2) are the heights and widths of the resized and of the original images.  A
    box inside the original image stays inside the resized image, and a side on the border stays on the border.
    """
    return _change_frame(boxes, original_sizes, image_sizes)


def to_original_pixels(boxes: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> Tensor:
    """Convert boxes (..., N, 4) from pixels of the resized images to pixels of the original images.

    This is the inverse of `to_resized_pixels`, with the same arguments.
    """
    return _change_frame(boxes, image_sizes, original_sizes)


def _change_frame(boxes: Tensor, old_sizes: Tensor, new_sizes: Tensor) -> Tensor:
    """Scale boxes (..., N, 4) from images of `old_sizes` to images of `new_sizes`, both (..., 2)."""
    old, new = (tf.cast(sizes, boxes.dtype)[..., None, :] for sizes in (old_sizes, new_sizes))
    old, new = (tf.concat([sizes, sizes], axis=-1) for sizes in (old, new))
    # Multiply before dividing: a precomputed factor is rounded, which could move a side on the border out of the image.
    # A conversion and its inverse round four times, by less than 2.5e-4 pixels in an image of 1000 pixels.
    return boxes * new / old


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre y, centre x, height and width of boxes (..., 4), each (...)."""
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    height, width = y1 - y0, x1 - x0
    return y0 + 0.5 * height, x0 + 0.5 * width, height, width


def encode(boxes: Tensor, references: Tensor) -> Tensor:
    """Deltas that turn `references` into `boxes` (section 3.1.2, equation 2): (..., 4), (..., 4) -> (..., 4).

    The order of the deltas is ty, tx, th, tw.  They have no unit: shifts are in heights and widths of the reference,
    and changes of size are natural logarithms.  The deltas are zeros if either box has no area.  Such rows are padding
    and are never trained on.
    """
    y, x, h, w = _centre_form(boxes)
    ya, xa, ha, wa = _centre_form(references)
    real = (h > 0) & (w > 0) & (ha > 0) & (wa > 0)
    # tf.where computes and differentiates both branches, so the unused branch must be finite as well.
    h, w, ha, wa = (tf.where(real, side, 1.0) for side in (h, w, ha, wa))
    deltas = tf.stack([(y - ya) / ha, (x - xa) / wa, tf.math.log(h / ha), tf.math.log(w / wa)], axis=-1)
    return tf.where(real[..., None], deltas, 0.0)


def decode(deltas: Tensor, references: Tensor) -> Tensor:
    """Apply `deltas` to `references`: (..., 4), (..., 4) -> boxes (..., 4).

    This is the inverse of `encode` (section 3.1.2, equation 2).  A delta enlarges a side at most exp(`MAX_LOG_SCALE`)
    times.
    """
    ya, xa, ha, wa = _centre_form(references)
    ty, tx, th, tw = tf.unstack(deltas, axis=-1)
    y, x = ty * ha + ya, tx * wa + xa
    h = tf.exp(tf.minimum(th, MAX_LOG_SCALE)) * ha
    w = tf.exp(tf.minimum(tw, MAX_LOG_SCALE)) * wa
    return tf.stack([y - 0.5 * h, x - 0.5 * w, y + 0.5 * h, x + 0.5 * w], axis=-1)
