"""The pixels of a picture file, or an error that names the file."""

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Example
from keras_frcnn.data.pictures.images import decode_image, encoded_size
from keras_frcnn.data.pictures.orientation import apply_orientation, decode_picture
from keras_frcnn.data.tensorflow_errors import reason_of
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import MOST_PIXELS, check_pixels
from keras_frcnn.facts.structures import Tensor

_BMP_START = b"BM"
_A_PICTURE = "give a JPEG, PNG, GIF, BMP, WebP or TIFF file"


class Reading(NamedTuple):
    """How a picture is read."""

    turned: bool  # as its EXIF orientation says; see `ImageConfig.applies_exif`
    max_pixels: int = MOST_PIXELS  # a picture with more is refused


def read_picture(path: str | os.PathLike[str], reading: Reading) -> np.ndarray:
    """Read a JPEG, PNG or BMP file: (H, W, 3) uint8 RGB.

    Raises InputError, with the file and the reason, if there is no such file or if it is not a readable picture.
    """

    def decode(encoded: Tensor) -> Tensor:
        return _decode(encoded, reading, path)

    return _read(path, decode, "give the path of a picture", _A_PICTURE)


def decode_file(content: bytes, reading: Reading, name: str) -> np.ndarray:
    """The same for the content of a file.  Raises InputError, with `name` and the reason, if it is not a picture."""
    try:
        return _decode(tf.constant(content), reading, name).numpy()
    except tf.errors.OpError as error:
        raise _unreadable(name, error, _A_PICTURE) from None


def _decode(encoded: Tensor, reading: Reading, name: str | os.PathLike[str]) -> Tensor:
    check_pixels(name, *_stated_size(encoded), reading.max_pixels)
    return decode_picture(encoded, reading.turned)


def _stated_size(encoded: Tensor) -> tuple[int, int]:
    """Height and width as the header of a JPEG, PNG or BMP states them; zeros for other bytes."""
    start = tf.strings.substr(encoded, 0, 26).numpy()
    if start.startswith(_BMP_START):
        width, height = struct.unpack_from("<ii", start.ljust(26, b"\0"), 18)
        return abs(height), abs(width)
    height, width = encoded_size(encoded).numpy().tolist()
    return height, width


def read_example(example: Example) -> np.ndarray:
    """The picture of an example as training sees it before it is resized: (H, W, 3) uint8 RGB.

    It is turned as `Example.orientation` says, so the boxes of the example are in its pixels.

    Raises InputError, with the file and the reason, if the picture cannot be read.
    """

    def decode(encoded: Tensor) -> Tensor:
        return apply_orientation(decode_image(encoded), example.orientation)

    return _read(example.image_path, decode, "restore it, or remove its annotation", "replace or remove it")


def _read(
    path: str | os.PathLike[str], decode: Callable[[Tensor], Tensor], missing_fix: str, damaged_fix: str
) -> np.ndarray:
    """Read and decode a file.  Raises InputError with one of the two ways to fix it."""
    try:
        return decode(tf.io.read_file(os.fsencode(path))).numpy()
    except tf.errors.NotFoundError:
        raise InputError(path, "no such file", missing_fix) from None
    except tf.errors.FailedPreconditionError:
        raise InputError(path, "is a folder", missing_fix) from None
    except tf.errors.OpError as error:
        raise _unreadable(path, error, damaged_fix) from None


def _unreadable(name: str | os.PathLike[str], error: tf.errors.OpError, fix: str) -> InputError:
    return InputError(name, f"not a readable picture ({reason_of(error)})", fix)
