"""Arithmetic of boxes.

Boxes are (..., 4) float32, yxyx, continuous corners: width is x1 - x0, without the +1 of inclusive pixels.  Every
function works on any leading shape, computes in float32 and is free of side effects.
"""

import math

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# No delta may enlarge a box more than 1000/16 times, as in the released code of the paper's successors: exp() of an
# untrained or diverged output would overflow, and NMS over infinite boxes silently returns indices.
MAX_LOG_SCALE = math.log(1000.0 / 16.0)

# Spacing of exact coordinates, in pixels.  Float32 holds every multiple of it up to 16384 pixels, so sums and
# differences of such coordinates are exact.
GRID = 2.0**-10


def snap(boxes: Tensor) -> Tensor:
    """Round the coordinates of (..., 4) boxes to the nearest multiple of `GRID`."""
    return tf.round(boxes / GRID) * GRID


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): height times width, 0 for an inverted box."""
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    return tf.maximum(y1 - y0, 0.0) * tf.maximum(x1 - x0, 0.0)


def pairwise_iou(a: Tensor, b: Tensor, areas_a: Tensor | None = None) -> Tensor:
    """Intersection over union of every pair: (..., N, 4), (..., M, 4) -> (..., N, M); 0 where both are empty.

    `areas_a` (..., N) replaces the areas computed from the corners of `a`.
    """
    areas_a = area(a) if areas_a is None else areas_a
    areas_b = area(b)
    a, b = a[..., :, None, :], b[..., None, :, :]
    top_left = tf.maximum(a[..., :2], b[..., :2])
    bottom_right = tf.minimum(a[..., 2:], b[..., 2:])
    sides = tf.maximum(bottom_right - top_left, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = areas_a[..., :, None] + areas_b[..., None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def clip(boxes, image_sizes):
    """Clip (B, N, 4) boxes to images of `image_sizes` (B, 2), height and width in pixels."""
    limit = tf.cast(image_sizes, tf.float32)[:, None, :]
    return tf.minimum(tf.maximum(boxes, 0.0), tf.concat([limit, limit], axis=-1))


def flip_horizontally(boxes, width):
    """Mirror (..., 4) boxes in an image of `width` pixels."""
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    width = tf.cast(width, boxes.dtype)
    return tf.stack([y0, width - x1, y1, width - x0], axis=-1)


def to_resized_pixels(boxes: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> Tensor:
    """(..., N, 4) boxes in pixels of the original images -> pixels of the resized images.

    Sizes are (..., 2), height and width, of the resized (`image_sizes`) and of the original images.  Boxes inside the
    original image are inside the resized one, on its border if they were on the border.
    """
    return _change_frame(boxes, original_sizes, image_sizes)


def to_original_pixels(boxes: Tensor, image_sizes: Tensor, original_sizes: Tensor) -> Tensor:
    """(..., N, 4) boxes in pixels of the resized images -> pixels of the original images: see `to_resized_pixels`."""
    return _change_frame(boxes, image_sizes, original_sizes)


def _change_frame(boxes: Tensor, old_sizes: Tensor, new_sizes: Tensor) -> Tensor:
    old, new = (tf.cast(sizes, boxes.dtype)[..., None, :] for sizes in (old_sizes, new_sizes))
    old, new = (tf.concat([sizes, sizes], axis=-1) for sizes in (old, new))
    # Multiply before dividing.  A precomputed factor is rounded and could move a border out of the image.  This way
    # there and back costs four roundings, less than 2.5e-4 pixels in an image of 1000 pixels.
    return boxes * new / old


def _centre_form(boxes):
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    height, width = y1 - y0, x1 - x0
    return y0 + 0.5 * height, x0 + 0.5 * width, height, width


def encode(boxes, references):
    """Deltas (ty, tx, th, tw) that carry `references` to `boxes`, both (..., 4) (section 3.1.2, equation 2).

    Rows where either box has no area give zeros: they stand for padding and are never trained on.
    """
    y, x, h, w = _centre_form(boxes)
    ya, xa, ha, wa = _centre_form(references)
    real = (h > 0) & (w > 0) & (ha > 0) & (wa > 0)
    # Both branches of tf.where are differentiated and computed: keep the unused one finite.
    h, w, ha, wa = (tf.where(real, side, 1.0) for side in (h, w, ha, wa))
    deltas = tf.stack([(y - ya) / ha, (x - xa) / wa, tf.math.log(h / ha), tf.math.log(w / wa)], axis=-1)
    return tf.where(real[..., None], deltas, 0.0)


def decode(deltas, references):
    """Boxes (..., 4) that `deltas` (..., 4) make of `references` (..., 4): the inverse of `encode`."""
    ya, xa, ha, wa = _centre_form(references)
    ty, tx, th, tw = tf.unstack(deltas, axis=-1)
    y, x = ty * ha + ya, tx * wa + xa
    h = tf.exp(tf.minimum(th, MAX_LOG_SCALE)) * ha
    w = tf.exp(tf.minimum(tw, MAX_LOG_SCALE)) * wa
    return tf.stack([y - 0.5 * h, x - 0.5 * w, y + 0.5 * h, x + 0.5 * w], axis=-1)
