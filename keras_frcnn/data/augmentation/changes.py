"""Random changes of training pictures beyond the flip, together with their boxes.

Each picture has a key, (2,) int32: the run's seed and the picture's position in the training stream.  Every random
choice is a function of the key, so a resumed run sees the same pictures.

There are two stages.  Before resizing, a window of the stored picture is chosen: a crop, a canvas that is larger than
the picture, or the whole picture.  Since the window is then resized to the size of the network's input, a crop enlarges
the objects and a canvas makes them smaller.  After resizing, colours and sharpness change.  At that point the cost and
the meaning of a blur do not depend on the resolution of the stored picture.

Boxes are (N, 4) float32 in the order y0, x0, y1, x1, in pixels.
"""

import keras
import tensorflow as tf

from keras_frcnn.data.augmentation.presets import Preset
from keras_frcnn.data.pictures.images import CHANNEL_MEANS_BGR
from keras_frcnn.facts.structures import GroundTruth, Proposals, Tensor
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.geometry import randomness

MIN_VISIBLE = 0.3  # an object stays if this share of its area is visible (TF object detection API, random_crop_image)
MIN_PROPOSAL_SIDE = 1.0  # a proposal is dropped if less of a side is visible, in pixels of the stored picture
CANVAS = round(sum(CHANNEL_MEANS_BGR) / 3)  # grey level of a canvas: nearly the zeros that pad a normalised image
CROP_GRID = 4096  # crops are sampled in a square of this side, to which picture and boxes are scaled
BLUR_KERNEL = 9  # rows and columns of the blur's kernel


# TensorFlow and Keras do the sampling of crops, the colours and the blur.  The arithmetic of the boxes is our own: the
# crop layer of Keras 3.15 has one fixed output size, keeps the boxes of objects that are no longer visible, shifts x by
# the vertical offset (keras#23518), and draws from a seed generator that has a state.
def choose_window(size: Tensor, boxes: Tensor, key: Tensor, preset: Preset) -> Tensor:
    """Choose the part of a picture that the network sees.

    At least one object stays (see `visible_share`).  If no crop can be found, the window is the whole picture.

    Args:
        size: (2,) int32, height and width of the stored picture in pixels.
        boxes: (N, 4), the objects, in pixels of the stored picture and inside it.
        key: (2,) int32.
        preset: The ranges.

    Returns:
        (4,) int32, y0, x0, y1, x1 in pixels of the stored picture.  A window that reaches beyond the picture shows the
        canvas there.
    """
    whole = tf.concat([[0, 0], size], axis=0)
    draws = randomness.uniform(key[None], randomness.WINDOW, [4])[0]
    crop = _sample_crop(size, boxes, key, preset)
    keeps_objects = tf.logical_or(tf.size(boxes) == 0, tf.reduce_any(visible_share(boxes, crop) >= MIN_VISIBLE))
    larger = tf.cast(tf.round(tf.cast(size, tf.float32) * _between(draws[1], preset.canvas)), tf.int32)
    corner = -tf.cast(tf.round(tf.cast(larger - size, tf.float32) * draws[2:]), tf.int32)
    canvas = tf.concat([corner, corner + larger], axis=0)
    is_crop, is_canvas = draws[0] < preset.crop, draws[0] >= 1.0 - preset.zoom_out
    return tf.where(tf.logical_and(is_crop, keeps_objects), crop, tf.where(is_canvas, canvas, whole))


def _sample_crop(size: Tensor, boxes: Tensor, key: Tensor, preset: Preset) -> Tensor:
    """Sample a crop that holds `preset.covered` of one object or, without objects, of the picture; (4,) int32."""
    relative = tf.clip_by_value(boxes / tf.cast(tf.tile(size, [2]), tf.float32), 0.0, 1.0)
    # In a square, the aspect ratio of the crop is relative to that of the picture.
    corner, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        [CROP_GRID, CROP_GRID, 3],
        relative[None],
        seed=tf.random.experimental.stateless_fold_in(key, randomness.CROP, alg=randomness.ALGORITHM),
        min_object_covered=preset.covered,
        aspect_ratio_range=preset.aspect,
        area_range=preset.area,
        use_image_if_no_bounding_boxes=True,
    )
    end = corner[:2] + extent[:2]
    # Rounded outwards, so that the crop still covers the object.
    return tf.concat([corner[:2] * size // CROP_GRID, -(-end * size // CROP_GRID)], axis=0)


def visible_share(boxes: Tensor, window: Tensor) -> Tensor:
    """The share of the area of each box (N, 4) that lies in the window (4,): (N,), 0 for a box without area."""
    return tf.math.divide_no_nan(box_ops.area(move_boxes(boxes, window)), box_ops.area(boxes))


def move_boxes(boxes: Tensor, window: Tensor) -> Tensor:
    """Convert boxes (N, 4) from pixels of the stored picture to pixels of the window, and clip them to the window.

    A box outside the window becomes a box without area on its border.
    """
    window = tf.cast(window, tf.float32)
    return box_ops.clip((boxes - tf.tile(window[:2], [2]))[None], (window[2:] - window[:2])[None])[0]


def move_objects(objects: GroundTruth, window: Tensor) -> GroundTruth:
    """The objects of one picture, in pixels of the window.

    Objects of which less than `MIN_VISIBLE` is visible are dropped: too little of them is left to recognise.
    """
    kept = visible_share(objects.boxes, window) >= MIN_VISIBLE
    moved = objects._replace(boxes=move_boxes(objects.boxes, window))
    return GroundTruth(*(tf.boolean_mask(field, kept) for field in moved))


def move_proposals(proposals: Proposals, window: Tensor) -> Proposals:
    """The stored proposals of one picture, in pixels of the window.

    Proposals of which less than `MIN_PROPOSAL_SIDE` is visible in either direction are dropped.  Parts of a proposal
    remain useful: they are compared with the visible parts of the objects.
    """
    moved = proposals._replace(boxes=move_boxes(proposals.boxes, window))
    kept = tf.reduce_all(moved.boxes[:, 2:] - moved.boxes[:, :2] >= MIN_PROPOSAL_SIDE, axis=-1)
    return Proposals(*(tf.boolean_mask(field, kept) for field in moved))


def cut(image: Tensor, window: Tensor) -> Tensor:
    """The pixels of a window: (H, W, 3) uint8 and (4,) int32 -> (y1 - y0, x1 - x0, 3) uint8."""
    size = tf.shape(image)[:2]
    before, after = tf.maximum(-window[:2], 0), tf.maximum(window[2:] - size, 0)
    start, end = tf.maximum(window[:2], 0), tf.minimum(window[2:], size)
    paddings = tf.concat([tf.stack([before, after], axis=-1), [[0, 0]]], axis=0)
    inside = image[start[0] : end[0], start[1] : end[1]]
    return tf.ensure_shape(tf.pad(inside, paddings, constant_values=CANVAS), [None, None, 3])


def recolour(image: Tensor, key: Tensor, preset: Preset) -> Tensor:
    """Change contrast, brightness, saturation and hue of a resized picture, and blur some pictures.

    Args:
        image: (h, w, 3) float32 RGB in 0..255.
        key: (2,) int32.
        preset: The ranges.

    Returns:
        (h, w, 3) float32 RGB in 0..255.
    """
    draws = tf.unstack(randomness.uniform(key[None], randomness.COLOURS, [6])[0])
    contrast, brightness, saturation, hue, blurred, sigma = draws
    image = tf.image.adjust_contrast(image, _between(contrast, preset.contrast))
    image += _between(brightness, (-preset.brightness, preset.brightness))
    image = tf.clip_by_value(image, 0.0, 255.0)  # saturation and hue are not defined for negative values
    image = tf.image.adjust_saturation(image, _between(saturation, preset.saturation))
    image = tf.image.adjust_hue(image, _between(hue, (-preset.hue, preset.hue)))
    return tf.cond(blurred < preset.blur, lambda: _blur(image, _between(sigma, preset.sigma)), lambda: image)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Blur an image (h, w, 3) with a Gaussian of `sigma` pixels."""
    border = BLUR_KERNEL // 2
    # Keras pads with zeros, which would darken the border of the picture.
    padded = tf.pad(image, [[border, border], [border, border], [0, 0]], mode="SYMMETRIC")
    blurred = keras.ops.image.gaussian_blur(padded, (BLUR_KERNEL, BLUR_KERNEL), tf.stack([sigma, sigma]))
    return tf.ensure_shape(blurred[border:-border, border:-border], image.shape)


def _between(draw: Tensor, limits: tuple[float, float]) -> Tensor:
    """Map a number in [0, 1) to the range `limits`."""
    return limits[0] + draw * (limits[1] - limits[0])
