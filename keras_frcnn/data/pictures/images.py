"""From the bytes of a picture to the network's input: decode, resize, normalise.

Training, detection and both exports use these functions.  `orientation.py` applies the EXIF orientation to what
`decode_image` returns.
"""

from collections.abc import Sequence

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# VGG16 as released by its authors takes BGR minus these means (as in keras.applications.vgg16.preprocess_input).
CHANNEL_MEANS_BGR = (103.939, 116.779, 123.68)
LEAST_SIDE = 16  # pixels; the backbone's four 2x2 poolings turn 16 rows into one, and fewer rows into none
# How `decode_image` turns bytes into pixels.  Change it whenever the pixels change: stored features depend on them.
DECODING = "jpeg-islow"
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # signature and start of the first chunk; the size follows


def decode_image(encoded: Tensor) -> Tensor:
    """Decode a JPEG, PNG, GIF (first frame) or BMP picture.

    Args:
        encoded: () string, the bytes of the file.

    Returns:
        (H, W, 3) uint8 RGB, as the file stores the pixels.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are damaged or have another format.
    """

    def decode_jpeg() -> Tensor:
        # TensorFlow's default is a fast approximation that differs from Pillow and OpenCV by up to 17 grey levels.
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def decode_other() -> Tensor:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    # decode_image also decodes JPEG, but has no dct_method.  decode_jpeg rejects BMP and animated GIF.
    image = tf.cond(starts_with(encoded, JPEG_START), decode_jpeg, decode_other)
    return tf.ensure_shape(image, [None, None, 3])


def encoded_size(encoded: Tensor) -> Tensor:
    """Read the size of a JPEG or PNG picture from its header, without decoding the pixels.

    A file of a few kilobytes can decode to more pixels than fit in memory.  Callers check the size first.

    Args:
        encoded: () string, the bytes of the file.

    Returns:
        (2,) int64, height and width in pixels as stored; (0, 0) for bytes that are neither JPEG nor PNG.

    Raises:
        tf.errors.InvalidArgumentError: The header of the JPEG is damaged.
    """

    def of_png() -> Tensor:
        width_and_height = tf.io.decode_raw(tf.strings.substr(encoded, len(PNG_START), 8), tf.uint8, fixed_length=8)
        digits = tf.reshape(tf.cast(width_and_height, tf.int64), [2, 4])
        return tf.reduce_sum(digits * [2**24, 2**16, 2**8, 1], axis=-1)[::-1]

    return tf.case(
        [
            (starts_with(encoded, PNG_START), of_png),
            (starts_with(encoded, JPEG_START), lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2]),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )


def starts_with(encoded: Tensor, start: bytes) -> Tensor:
    """Return whether the () string `encoded` starts with `start`: () bool."""
    return tf.equal(tf.strings.substr(encoded, 0, len(start)), start)


def resized_size(original_size: Tensor, short_side: int, long_side: int) -> Tensor:
    """Compute the size of a resized picture (section 3.3).

    The short side becomes `short_side`, or less if the long side would exceed `long_side`.  Sides are rounded to whole
    pixels and are at least LEAST_SIDE; apart from that, the aspect ratio is kept.

    Args:
        original_size: (2,) integers, height and width of the picture in pixels, at least 1.
        short_side: In pixels.
        long_side: In pixels.

    Returns:
        (2,) int32, height and width in pixels.
    """
    size = tf.cast(original_size, tf.float32)
    factor = tf.minimum(short_side / tf.reduce_min(size), long_side / tf.reduce_max(size))
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), LEAST_SIDE)


def resize(image: Tensor, size: Tensor | Sequence[int]) -> Tensor:
    """Resize bilinearly, with half-pixel centres and without antialiasing.

    Args:
        image: (H, W, 3) or a batch (B, H, W, 3), of any number type.
        size: (2,) int32, height h and width w in pixels.

    Returns:
        (h, w, 3) or (B, h, w, 3) float32.
    """
    return tf.image.resize(image, size, method="bilinear")


def resize_picture(image: Tensor, size: Tensor | Sequence[int]) -> Tensor:
    """Resize as in training and round: (H, W, 3) uint8 -> (*size, 3) uint8.

    This is what an app does before it runs a TFLite file, which takes uint8.
    """
    return tf.cast(tf.round(resize(image, size)), tf.uint8)


def normalise(image: Tensor) -> Tensor:
    """Turn RGB values in 0..255 (..., 3) into the network's input (..., 3) float32: BGR minus CHANNEL_MEANS_BGR."""
    # Unlike a subtraction, bias_add refuses another number of channels when the graph runs.
    return tf.nn.bias_add(tf.reverse(tf.cast(image, tf.float32), axis=[-1]), -tf.constant(CHANNEL_MEANS_BGR))


def prepare(image: Tensor, short_side: int, long_side: int) -> Tensor:
    """Resize and normalise a picture, or a batch of pictures of one size.

    Args:
        image: (H, W, 3) or (B, H, W, 3) uint8 RGB.
        short_side: See `resized_size`.
        long_side: See `resized_size`.

    Returns:
        (h, w, 3) or (B, h, w, 3) float32, with (h, w) from `resized_size`.
    """
    size = resized_size(tf.shape(image)[-3:-1], short_side, long_side)
    return normalise(resize(image, size))
