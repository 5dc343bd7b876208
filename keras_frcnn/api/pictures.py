"""From a picture, as a caller has it, to pixels and to detections in those pixels.

A picture is a file, the bytes of one, a PIL image or an array.  They all become what `decode_picture` of
`data/pictures/orientation.py` makes of a file: (H, W, 3) uint8 RGB, without alpha.  If the model applies the EXIF
orientation (`ImageConfig.applies_exif`), files and PIL images are turned as theirs says.  Arrays have none and are
taken as they are, whatever their size.  Other pictures have a limit of pixels and are refused before they are decoded.

Axes: H W pixels of a picture, B pictures of one batch, h w pixels of a resized picture, N detections in one picture.
"""

import io
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from keras_frcnn.data.pictures.files import Reading, decode_file, read_picture
from keras_frcnn.data.pictures.images import prepare
from keras_frcnn.data.pictures.orientation import apply_orientation
from keras_frcnn.data.sources.shared.picture_header import AS_STORED, orientation_of
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import check_pixels
from keras_frcnn.facts.structures import Detections, Tensor
from keras_frcnn.geometry.boxes import to_original_pixels
from keras_frcnn.network.model import FasterRCNN

Path = str | os.PathLike[str]
Picture = np.ndarray | Image.Image | Path | bytes

# Pillow converts premultiplied alpha only to plain alpha, and warns about a palette with alpha that goes to RGB.
_BEFORE_RGB = {"La": "LA", "RGBa": "RGBA", "P": "RGBA", "PA": "RGBA"}
# How the formats begin that TensorFlow cannot decode, and GIF, of which it decodes all frames to give the first.  The
# four bytes in the middle of WebP are its size.
_WEBP, _TIFF, _GIF = b"RIFF....WEBP", (b"II*\0", b"MM\0*"), (b"GIF87a", b"GIF89a")
_USE_A_PICTURE = "give a path, the bytes of a file, a PIL image or a uint8 RGB array (H, W, 3)"


class PixelDetections(NamedTuple):
    """What is found in one picture, best first."""

    boxes: np.ndarray  # (N, 4) float32 yxyx, in the picture's own pixels, continuous corners
    class_ids: np.ndarray  # (N,) int32, 1 for the first class name
    scores: np.ndarray  # (N,) float32, 0 to 1


def to_pixels(image: Picture, reading: Reading, name: str = "image") -> np.ndarray:
    """The pixels of a picture in any accepted form: (H, W, 3) uint8 RGB.

    `name` stands for an image without a path in error messages.  Raises InputError if `image` is not a picture, if it
    is too large, or if it cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return _file_pixels(image, reading)
    if isinstance(image, bytes):
        return _content_pixels(image, reading, name)
    if isinstance(image, Image.Image):
        pixels = _pil_pixels(image, reading, name)
        # Not ImageOps.exif_transpose, which also reads XMP: a PIL image must be what its file is.
        orientation = orientation_of(image.info.get("exif")) if reading.turned else AS_STORED
        return apply_orientation(tf.constant(pixels), orientation).numpy()
    if hasattr(image, "__array__"):
        return _array_pixels(np.asarray(image), name)
    raise InputError(name, f"{type(image).__name__} is not a picture", _USE_A_PICTURE)


def _file_pixels(path: Path, reading: Reading) -> np.ndarray:
    """The pixels of a file.  The decoder of training reads JPEG, PNG and BMP, and Pillow the other formats."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(path, "is not a regular file", "give the path of a picture")
    try:
        with open(path, "rb") as file:
            start = file.read(len(_WEBP))
    except OSError:
        start = b""  # `read_picture` names the problem
    except ValueError as error:  # a null character
        raise InputError(repr(path), f"is not the name of a file ({error})", "give the path of a picture") from error
    return _pixels_of_pillow(path, reading, path) if _is_for_pillow(start) else read_picture(path, reading)


def _content_pixels(content: bytes, reading: Reading, name: str) -> np.ndarray:
    """The pixels of a file, from its bytes."""
    if _is_for_pillow(content[: len(_WEBP)]):
        return _pixels_of_pillow(io.BytesIO(content), reading, name)
    return decode_file(content, reading, name)


def _pixels_of_pillow(source: Path | io.BytesIO, reading: Reading, name: Path) -> np.ndarray:
    """The pixels of a WebP, TIFF or GIF file, of which the first frame."""
    try:
        with Image.open(source) as opened:
            return to_pixels(opened, reading, os.fspath(name))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(name, "not a readable picture (damaged)", "replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(name, f"not a readable picture ({error})", "replace it") from error


def _is_for_pillow(start: bytes) -> bool:
    """Whether a file that begins so is WebP, TIFF or GIF."""
    return start.startswith(_TIFF + _GIF) or (start[:4] == _WEBP[:4] and start[8:] == _WEBP[8:])


def _array_pixels(array: np.ndarray, name: str) -> np.ndarray:
    found = f"an array of dtype {array.dtype} and shape {array.shape} is not a picture"
    if array.dtype != np.uint8:
        raise InputError(name, found, "convert it to uint8 with values from 0 to 255")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = "give one picture (H, W, 3) in RGB order, or grey (H, W), or RGBA (H, W, 4); pass a batch as a list"
        raise InputError(name, found, hint)
    return array.repeat(3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def _pil_pixels(image: Image.Image, reading: Reading, name: str) -> np.ndarray:
    name = getattr(image, "filename", "") or name
    check_pixels(name, image.height, image.width, reading.max_pixels)
    if 0 in image.size:
        problem = f"a PIL image of {image.width} x {image.height} pixels is not a picture"
        raise InputError(name, problem, "give one with at least one pixel")
    if image.mode == "F":
        raise InputError(name, "a PIL image of mode F has no fixed range of values", "convert it to mode L or RGB")
    try:
        if image.mode.startswith("I"):
            return _array_pixels(_upper_bytes(np.asarray(image), name), name)
        if image.mode in _BEFORE_RGB:
            image = image.convert(_BEFORE_RGB[image.mode])
        return np.asarray(image.convert("RGB"))
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(name, f"not a readable picture ({error})", "give a PIL image that converts to RGB") from error


def _upper_bytes(values: np.ndarray, name: str) -> np.ndarray:
    """16-bit grey values -> 8 bits; the decoder drops the lower byte in the same way."""
    if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
        raise InputError(name, "a PIL image of mode I has values outside of 16 bits", "convert it to mode L or RGB")
    return (values >> 8).astype(np.uint8)


def prepare_picture(pixels: np.ndarray, config: ImageConfig) -> Tensor:
    """(H, W, 3) uint8 RGB -> the network's input (h, w, 3) float32."""
    return prepare(tf.constant(pixels), config.short_side, config.long_side)


def detect_prepared(model: FasterRCNN, prepared: Tensor, original_sizes: Tensor) -> Detections:
    """The detections in a batch of prepared pictures of one size, in pixels of the original pictures.

    prepared (B, h, w, 3); original_sizes (B, 2) int32, height and width.
    """
    image_sizes = tf.tile(tf.shape(prepared)[None, 1:3], [tf.shape(prepared)[0], 1])
    detections = model((prepared, image_sizes))
    return detections._replace(boxes=to_original_pixels(detections.boxes, image_sizes, original_sizes))


def in_picture(detections: Detections, row: int) -> PixelDetections:
    """The valid detections of one row of a batch."""
    valid = detections.valid[row].numpy()
    fields = (detections.boxes, detections.classes, detections.scores)
    return PixelDetections(*(field[row].numpy()[valid] for field in fields))


def detect_pixels(model: FasterRCNN, pixels: np.ndarray) -> PixelDetections:
    """All detections in one (H, W, 3) uint8 RGB picture that reach the model's own `config.test.score_threshold`.

    This runs the Keras model operation by operation and compiles nothing.  `Detector.detect` compiles the same
    computation.
    """
    prepared = prepare_picture(pixels, model.config.image)[None]
    return in_picture(detect_prepared(model, prepared, tf.constant([pixels.shape[:2]])), 0)
