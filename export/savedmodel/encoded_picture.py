"""Encoded pictures inside the graph of a SavedModel: decoded and prepared, or refused with a reason."""

import tensorflow as tf

from keras_frcnn.data.images import decode_image, encoded_size, prepare
from keras_frcnn.data.tuning import untuned
from keras_frcnn.facts.structures import Tensor

# A decoded picture takes 3 bytes a pixel.  A progressive JPEG takes 6 more while it is decoded: 600 MB at this limit.
MOST_PIXELS = 2**26


def read_encoded(encoded: Tensor, short_side: int, long_side: int) -> tuple[Tensor, Tensor]:
    """Decode and prepare a JPEG or PNG.  Raises nothing, whatever the bytes are.

    A picture of more than MOST_PIXELS pixels is refused before it is decoded.

    Args:
      encoded: () string.
      short_side: of the network's input, in pixels.
      long_side: the largest long side of the network's input, in pixels.

    Returns:
      The network's input (h, w, 3), and a () string that says why the picture is refused.  The string is empty for a
      readable picture.  The input of a refused picture is (0, 0, 3).
    """
    no_picture = tf.zeros([0, 0, 3])

    def read(encoded: Tensor) -> tuple[Tensor, Tensor]:
        size = encoded_size(encoded)
        height, width = size[0], size[1]
        sides = tf.strings.join([tf.strings.as_string(height), tf.strings.as_string(width)], " x ")
        too_large = tf.strings.join([sides, f"pixels are over the limit of {MOST_PIXELS} in all"], " ")
        return tf.case(
            [
                (tf.equal(encoded, ""), lambda: (no_picture, tf.constant("no bytes"))),
                (tf.reduce_all(size == 0), lambda: (no_picture, tf.constant("neither JPEG nor PNG"))),
                # A division, because the product of the two 32-bit numbers of a header may overflow.
                (height > MOST_PIXELS // tf.maximum(width, 1), lambda: (no_picture, too_large)),
            ],
            default=lambda: (prepare(decode_image(encoded), short_side, long_side), tf.constant("")),
        )

    # A graph cannot catch the error of an op.  A tf.data pipeline can drop the element that fails.
    otherwise = (no_picture, "damaged: cannot be decoded")
    pictures = tf.data.Dataset.from_tensors(encoded).map(read).ignore_errors()
    pictures = pictures.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1)
    image, error = untuned(pictures).get_single_element()
    return tf.ensure_shape(image, [None, None, 3]), error
