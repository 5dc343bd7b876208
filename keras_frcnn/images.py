"""From the bytes of a picture to the network's input: the one place where pictures are decoded, resized and normalised.

Rule for the EXIF orientation, the same in training, detection and export: it is ignored.  Boxes are in the order of the
stored pixels, as TensorFlow's JPEG decoder gives them.
"""

import tensorflow as tf

# Oxford's VGG16 takes BGR with these channel means subtracted (keras.applications.vgg16.preprocess_input).
CHANNEL_MEANS_BGR = (103.939, 116.779, 123.68)
# Four 2x2 poolings leave one row of features of this many pixels; a thinner picture would leave none.
LEAST_SIDE = 16


def decode_image(encoded):
    """JPEG, PNG, GIF (first frame) or BMP bytes -> (H, W, 3) uint8 RGB.  Other bytes raise InvalidArgumentError."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def resized_size(original_size, short_side: int, long_side: int):
    """Height and width (2,) int32 that bring the short side to `short_side`, the long one to at most `long_side`.

    The aspect ratio is kept up to rounding, but no side falls under LEAST_SIDE.
    """
    size = tf.cast(original_size, tf.float32)
    factor = tf.minimum(short_side / tf.reduce_min(size), long_side / tf.reduce_max(size))
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), LEAST_SIDE)


def resize(image, size):
    """(H, W, 3) of any type -> (size[0], size[1], 3) float32, bilinear, with half-pixel centres."""
    return tf.image.resize(image, size, method="bilinear")


def normalise(image):
    """(..., 3) RGB in 0..255 -> the network's float32 input."""
    return tf.reverse(tf.cast(image, tf.float32), axis=[-1]) - tf.constant(CHANNEL_MEANS_BGR)


def denormalise(image):
    """The inverse of `normalise`, rounded to uint8 RGB: for pictures made of a batch."""
    image = tf.reverse(image + tf.constant(CHANNEL_MEANS_BGR), axis=[-1])
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def prepare(image, short_side: int, long_side: int):
    """(H, W, 3) uint8 RGB -> normalised (h, w, 3) float32 of the network's size."""
    size = resized_size(tf.shape(image)[:2], short_side, long_side)
    return normalise(resize(image, size))
