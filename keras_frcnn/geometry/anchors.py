"""Anchors: the reference boxes of the region proposal network (section 3.1.1).

Anchors are float32, and their corners are multiples of `boxes.GRID`.  Float32 holds these corners exactly at every
cell, so that all anchors of one shape have exactly the same sides.
"""

import numpy as np
import tensorflow as tf

from keras_frcnn.facts.structures import Tensor
from keras_frcnn.geometry import boxes as box_ops


def base_anchors(scales, ratios) -> np.ndarray:
    """Anchors around the origin, (k, 4) float32, k = len(scales) * len(ratios), ratios varying fastest.

    A scale is the square root of the area in pixels; a ratio is height / width.
    """
    scale, ratio = np.meshgrid(np.float64(scales), np.float64(ratios), indexing="ij")
    height = (scale * np.sqrt(ratio)).ravel()
    width = (scale / np.sqrt(ratio)).ravel()
    corners = np.stack([-height / 2, -width / 2, height / 2, width / 2], axis=-1)
    return (np.round(corners / box_ops.GRID) * box_ops.GRID).astype(np.float32)


def base_areas(scales, ratios) -> np.ndarray:
    """Areas of `base_anchors` in square pixels, (k,) float32: exactly equal for all ratios of one scale."""
    return np.repeat(np.square(np.float64(scales)), len(ratios)).astype(np.float32)


def tile_anchors(scales, ratios, feature_height, feature_width, stride: int) -> Tensor:
    """Anchors at every cell of a feature map, (h * w * k, 4), row by row, the k anchors of one cell together.

    The centre of a cell's anchors is the centre of the `stride` x `stride` pixels that the cell covers.
    """
    y = (tf.range(feature_height, dtype=tf.float32) + 0.5) * stride
    x = (tf.range(feature_width, dtype=tf.float32) + 0.5) * stride
    y, x = tf.meshgrid(y, x, indexing="ij")
    centres = tf.stack([y, x, y, x], axis=-1)
    return tf.reshape(centres[:, :, None, :] + base_anchors(scales, ratios), [-1, 4])


def inside_image(anchors: Tensor, image_sizes: Tensor) -> Tensor:
    """Which of (A, 4) anchors do not cross the border of each image: `image_sizes` (B, 2) -> (B, A) bool."""
    sizes = tf.cast(image_sizes, tf.float32)
    not_before = tf.reduce_all(anchors[:, :2] >= 0.0, axis=-1)
    not_beyond = tf.reduce_all(anchors[None, :, 2:] <= sizes[:, None, :], axis=-1)
    return not_before & not_beyond


def on_feature_cells(anchors: Tensor, image_sizes: Tensor, stride: int) -> Tensor:
    """Which of (A, 4) anchors belong to a cell of each image's own feature map, not to padding: (B, A) bool.

    Each of the four 2x2 poolings drops an odd last row, so an image of H pixels has floor(H / stride) rows of cells.
    """
    cells = tf.cast(image_sizes // stride, tf.float32) * stride
    centres = 0.5 * (anchors[:, :2] + anchors[:, 2:])
    return tf.reduce_all(centres[None] < cells[:, None, :], axis=-1)
