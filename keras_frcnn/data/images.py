"""From the bytes of a picture to the network's input: the one place where pictures are decoded, resized and normalised.

Training, detection and export all ignore the EXIF orientation: boxes refer to the pixels in the order in which the file
stores them.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# Oxford's VGG16 takes BGR with these channel means subtracted (keras.applications.vgg16.preprocess_input).
CHANNEL_MEANS_BGR = (103.939, 116.779, 123.68)
# Four 2x2 poolings leave one row of features of this many pixels; a thinner picture would leave none.
LEAST_SIDE = 16
# How `decode_image` turns bytes into pixels.  Change it whenever the pixels change: stored features depend on them.
DECODING = "jpeg-islow"
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # signature, then the first chunk: height and width follow


def decode_image(encoded: Tensor) -> Tensor:
    """Decode a () string of JPEG, PNG, GIF (first frame) or BMP bytes into (H, W, 3) uint8 RGB.

    Raises InvalidArgumentError for other or damaged bytes.
    """

    def decode_jpeg() -> Tensor:
        # The default is a fast approximation, up to 17 grey levels away from the pixels of Pillow and OpenCV.
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def decode_other() -> Tensor:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    # decode_image takes JPEG bytes too, but has no dct_method; decode_jpeg refuses BMP and animated GIF.
    image = tf.cond(_starts_with(encoded, JPEG_START), decode_jpeg, decode_other)
    return tf.ensure_shape(image, [None, None, 3])


def encoded_size(encoded):
    """Height and width (2,) int64 as the header of JPEG or PNG bytes has them, (0, 0) for other bytes.

    A file of some kilobytes may claim more pixels than fit in memory: this tells without decoding it.  A damaged JPEG
    header raises InvalidArgumentError.
    """

    def of_png():
        width_and_height = tf.io.decode_raw(tf.strings.substr(encoded, len(PNG_START), 8), tf.uint8, fixed_length=8)
        digits = tf.reshape(tf.cast(width_and_height, tf.int64), [2, 4])
        return tf.reduce_sum(digits * [2**24, 2**16, 2**8, 1], axis=-1)[::-1]

    return tf.case(
        [
            (_starts_with(encoded, PNG_START), of_png),
            (_starts_with(encoded, JPEG_START), lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2]),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )


def _starts_with(encoded: Tensor, start: bytes) -> Tensor:
    return tf.equal(tf.strings.substr(encoded, 0, len(start)), start)


def resized_size(original_size, short_side: int, long_side: int):
    """Height and width (2,) int32 that bring the short side to `short_side`, the long one to at most `long_side`.

    The aspect ratio is kept up to rounding, but no side falls under LEAST_SIDE.
    """
    size = tf.cast(original_size, tf.float32)
    factor = tf.minimum(short_side / tf.reduce_min(size), long_side / tf.reduce_max(size))
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), LEAST_SIDE)


def resize(image, size):
    """(..., H, W, 3) of any type -> (..., size[0], size[1], 3) float32, bilinear, with half-pixel centres.

    A picture, or a batch of pictures of one size.
    """
    return tf.image.resize(image, size, method="bilinear")


def normalise(image):
    """(..., 3) RGB in 0..255 -> the network's float32 input."""
    return tf.reverse(tf.cast(image, tf.float32), axis=[-1]) - tf.constant(CHANNEL_MEANS_BGR)


def denormalise(image):
    """The inverse of `normalise`, rounded to uint8 RGB: for pictures made of a batch."""
    image = tf.reverse(image + tf.constant(CHANNEL_MEANS_BGR), axis=[-1])
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def prepare(image, short_side: int, long_side: int):
    """(..., H, W, 3) uint8 RGB, a picture or a batch -> normalised (..., h, w, 3) float32 of the network's size."""
    size = resized_size(tf.shape(image)[-3:-1], short_side, long_side)
    return normalise(resize(image, size))
