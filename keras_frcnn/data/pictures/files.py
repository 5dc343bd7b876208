"""The pixels of a picture file, or an error that names the file."""

import os
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Example
from keras_frcnn.data.pictures.images import decode_image
from keras_frcnn.data.pictures.orientation import apply_orientation, decode_picture
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Tensor

_A_PICTURE = "give a JPEG, PNG, GIF or BMP file"


def read_picture(path: str | os.PathLike[str], turned: bool) -> np.ndarray:
    """Read a JPEG, PNG, GIF (first frame) or BMP file: (H, W, 3) uint8 RGB.

    With `turned`, the picture is turned as its EXIF orientation says; see `ImageConfig.applies_exif`.

    Raises InputError, with the file and the reason, if there is no such file or if it is not a readable picture.
    """
    fixes = "give the path of a picture", _A_PICTURE
    return _read(path, lambda encoded: decode_picture(encoded, turned), *fixes)


def decode_file(content: bytes, turned: bool, name: str) -> np.ndarray:
    """The same for the content of a file.  Raises InputError, with `name` and the reason, if it is not a picture."""
    try:
        return decode_picture(tf.constant(content), turned).numpy()
    except tf.errors.OpError as error:
        raise _unreadable(name, error, _A_PICTURE) from None


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
        return decode(tf.io.read_file(os.fspath(path))).numpy()
    except tf.errors.NotFoundError:
        raise InputError(path, "no such file", missing_fix) from None
    except tf.errors.FailedPreconditionError:
        raise InputError(path, "is a folder", missing_fix) from None
    except tf.errors.OpError as error:
        raise _unreadable(path, error, damaged_fix) from None


def _unreadable(name: str | os.PathLike[str], error: tf.errors.OpError, fix: str) -> InputError:
    """The error with TensorFlow's message, without the names of its graph nodes and operations."""
    message = re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:\w+\].*", "", error.message, flags=re.DOTALL)
    return InputError(name, f"not a readable picture ({message.strip().rstrip('.')[:120]})", fix)
