"""Anchors: the reference boxes of the region proposal network (section 3.1.1).

Everything is float32 from the first corner on: anchors in float64 on one side and float32 on the other break the ties
of "highest IoU".
"""

import numpy as np
import tensorflow as tf


def base_anchors(scales, ratios) -> np.ndarray:
    """Anchors around the origin, (k, 4) float32, k = len(scales) * len(ratios), ratios varying fastest.

    A scale is the square root of the area in pixels; a ratio is height / width.
    """
    scale, ratio = np.meshgrid(np.float64(scales), np.float64(ratios), indexing="ij")
    height = (scale * np.sqrt(ratio)).ravel()
    width = (scale / np.sqrt(ratio)).ravel()
    return np.stack([-height / 2, -width / 2, height / 2, width / 2], axis=-1).astype(np.float32)


def tile_anchors(scales, ratios, feature_height, feature_width, stride: int):
    """Anchors at every cell of a feature map, (h * w * k, 4), row by row, the k anchors of one cell together.

    A cell's anchors stand around the middle of the `stride` x `stride` pixels that it covers.
    """
    y = (tf.range(feature_height, dtype=tf.float32) + 0.5) * stride
    x = (tf.range(feature_width, dtype=tf.float32) + 0.5) * stride
    y, x = tf.meshgrid(y, x, indexing="ij")
    centres = tf.stack([y, x, y, x], axis=-1)
    return tf.reshape(centres[:, :, None, :] + base_anchors(scales, ratios), [-1, 4])


def inside_image(anchors, image_sizes):
    """Which of (A, 4) anchors do not cross the border of each image: `image_sizes` (B, 2) -> (B, A) bool."""
    sizes = tf.cast(image_sizes, tf.float32)
    not_before = tf.reduce_all(anchors[:, :2] >= 0.0, axis=-1)
    not_beyond = tf.reduce_all(anchors[None, :, 2:] <= sizes[:, None, :], axis=-1)
    return not_before & not_beyond


def on_feature_cells(anchors, image_sizes, stride: int):
    """Which of (A, 4) anchors stand on a cell of each image's own feature map, not on padding: (B, A) bool.

    Four 2x2 poolings drop a last odd row each, so that an image of H pixels has floor(H / stride) rows of cells.
    """
    cells = tf.cast(image_sizes // stride, tf.float32) * stride
    centres = 0.5 * (anchors[:, :2] + anchors[:, 2:])
    return tf.reduce_all(centres[None] < cells[:, None, :], axis=-1)
