"""Anchors: the reference boxes of the region proposal network (section 3.1.1).

Anchors are float32 in the order y0, x0, y1, x1, in pixels of the resized image.  Their corners are multiples of
`boxes.GRID`.  Float32 holds these corners exactly at every cell, so all anchors of one shape have the same sides.

A scale is the square root of an anchor's area, in pixels.  A ratio is height / width.

Axes: B images, A anchors, h w feature cells, k anchors of each cell.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_frcnn.facts.structures import Tensor
from keras_frcnn.geometry import boxes as box_ops

RELEASED_BASE = 16.0  # the released code rounds the sides of anchors of this scale, and multiplies them


def _sides(scales: Sequence[float], ratios: Sequence[float], shapes: str) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths of the anchors of a cell, (k,) float64 each; see `base_anchors`."""
    scale, ratio = np.meshgrid(np.asarray(scales, np.float64), np.asarray(ratios, np.float64), indexing="ij")
    if shapes == "exact":
        return (scale * np.sqrt(ratio)).ravel(), (scale / np.sqrt(ratio)).ravel()
    assert shapes == "released", shapes
    width = np.round(RELEASED_BASE / np.sqrt(ratio))
    height = np.round(width * ratio)
    return (height * scale / RELEASED_BASE).ravel(), (width * scale / RELEASED_BASE).ravel()


def base_anchors(scales: Sequence[float], ratios: Sequence[float], shapes: str = "exact") -> np.ndarray:
    """Anchors centred on the origin: (k, 4) float32, k = len(scales) * len(ratios).

    All ratios of the first scale come first, then those of the second scale, and so on.  With the shapes "exact", all
    ratios of a scale have the same area.  With "released", they are those of `generate_anchors` in the authors' code:
    the sides of an anchor of scale 16 are rounded to whole pixels, so the areas differ by up to 8 %.
    """
    height, width = _sides(scales, ratios, shapes)
    corners = np.stack([-height / 2, -width / 2, height / 2, width / 2], axis=-1)
    return (np.round(corners / box_ops.GRID) * box_ops.GRID).astype(np.float32)


def base_areas(scales: Sequence[float], ratios: Sequence[float], shapes: str = "exact") -> np.ndarray:
    """Areas of `base_anchors` in square pixels: (k,) float32.

    All ratios of one scale have exactly the same area, but for the shapes "released".
    """
    if shapes != "exact":
        height, width = _sides(scales, ratios, shapes)
        return (height * width).astype(np.float32)
    return np.repeat(np.square(np.asarray(scales, np.float64)), len(ratios)).astype(np.float32)


def tile_anchors(
    scales: Sequence[float],
    ratios: Sequence[float],
    feature_height: int | Tensor,
    feature_width: int | Tensor,
    stride: int,
    shapes: str = "exact",
) -> Tensor:
    """Anchors of every cell of a feature map: (h * w * k, 4), row by row, with the k anchors of a cell together.

    A cell covers `stride` x `stride` pixels of the image.  Its anchors are centred on these pixels.
    """
    y = (tf.range(feature_height, dtype=tf.float32) + 0.5) * stride
    x = (tf.range(feature_width, dtype=tf.float32) + 0.5) * stride
    y, x = tf.meshgrid(y, x, indexing="ij")
    centres = tf.stack([y, x, y, x], axis=-1)
    return tf.reshape(centres[:, :, None, :] + base_anchors(scales, ratios, shapes), [-1, 4])


def inside_image(anchors: Tensor, image_sizes: Tensor) -> Tensor:
    """Whether each anchor lies inside each image (section 3.3): (A, 4), (B, 2) -> (B, A) bool.

    An anchor that only touches the border is inside.  `image_sizes` are heights and widths in pixels.
    """
    y0, x0, y1, x1 = tf.unstack(anchors, axis=-1)
    sizes = tf.cast(image_sizes, tf.float32)
    return (y0 >= 0.0) & (x0 >= 0.0) & (y1 <= sizes[:, :1]) & (x1 <= sizes[:, 1:])


def on_feature_cells(anchors: Tensor, image_sizes: Tensor, stride: int) -> Tensor:
    """Whether each anchor belongs to a cell of each image's own feature map: (A, 4), (B, 2) -> (B, A) bool.

    The other anchors belong to cells of the padding.  Each of the four 2x2 poolings drops an odd last row, so an image
    of H pixels has floor(H / stride) rows of cells.  `image_sizes` are heights and widths in pixels.
    """
    y0, x0, y1, x1 = tf.unstack(anchors, axis=-1)
    sides = tf.cast(image_sizes // stride, tf.float32) * stride
    return (0.5 * (y0 + y1) < sides[:, :1]) & (0.5 * (x0 + x1) < sides[:, 1:])
