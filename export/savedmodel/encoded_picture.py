"""Encoded pictures inside the graph of a SavedModel: decoded, turned and prepared, or refused with a reason."""

from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.data.pictures.images import decode_image, encoded_size, prepare
from keras_frcnn.data.pictures.orientation import AS_STORED, apply_orientation, exif_orientation
from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.structures import Tensor


class EncodedPicture(NamedTuple):
    """A picture that was decoded in the graph, or the reason why it was not."""

    image: Tensor  # (h, w, 3) float32, the network's input; (0, 0, 3) for a refused picture
    error: Tensor  # () string: why the picture is refused; empty for a readable picture
    orientation: Tensor  # () int32: the EXIF orientation that was applied, 1 to 8; 1 for a picture as stored


def read_encoded(encoded: Tensor, config: ImageConfig, max_pixels: int) -> EncodedPicture:
    """Decode, turn and prepare a JPEG or PNG, a () string.  Raises nothing, whatever the bytes are.

    A picture of more than `max_pixels` pixels is refused before it is decoded.
    """

    def refused(why: Tensor | str) -> EncodedPicture:
        return EncodedPicture(tf.zeros([0, 0, 3]), tf.convert_to_tensor(why), tf.constant(AS_STORED))

    def read(encoded: Tensor) -> EncodedPicture:
        size = encoded_size(encoded)
        height, width = size[0], size[1]
        sides = tf.strings.join([tf.strings.as_string(height), tf.strings.as_string(width)], " x ")

        def decoded() -> EncodedPicture:
            orientation = exif_orientation(encoded) if config.applies_exif else tf.constant(AS_STORED)
            image = apply_orientation(decode_image(encoded), orientation)
            return EncodedPicture(prepare(image, config.short_side, config.long_side), tf.constant(""), orientation)

        too_large = tf.strings.join([sides, f"pixels are over the limit of {max_pixels} in all"], " ")
        return tf.case(
            [
                (tf.equal(encoded, ""), lambda: refused("no bytes")),
                (tf.reduce_all(size == 0), lambda: refused("neither JPEG nor PNG")),
                # A division, because the product of the two 32-bit numbers of a header may overflow.
                (height > max_pixels // tf.maximum(width, 1), lambda: refused(too_large)),
            ],
            default=decoded,
        )

    # A graph cannot catch the error of an op.  A tf.data pipeline can drop the element that fails.
    otherwise = refused("damaged: cannot be decoded")
    pictures = tf.data.Dataset.from_tensors(encoded).map(read).ignore_errors()
    pictures = pictures.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1)
    found = untuned(pictures).get_single_element()
    return found._replace(image=tf.ensure_shape(found.image, [None, None, 3]))
