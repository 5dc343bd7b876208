"""Size and EXIF orientation of a picture file, read without decoding the pixels."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from keras_frcnn.facts.errors import InputError

AS_STORED = 1  # the EXIF orientation of a picture that viewers show as it is stored

_FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with a second picture behind the first, written by some cameras
_EXIF_ORIENTATION = 0x0112


class PictureHeader(NamedTuple):
    """What the header of a picture file says."""

    height: int  # pixels as stored, EXIF orientation not applied
    width: int
    orientation: int  # EXIF orientation, 1..8; AS_STORED if there is none


def read_picture_header(path: Path) -> PictureHeader:
    """Read the header of a JPEG or PNG file.

    Raises:
      InputError: the file cannot be read, or has another format.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            image_format = image.format
            exif = image.info.get("exif")  # image.getexif() would decode the whole of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, f"cannot be read as a picture ({error})", "replace it with a JPEG or PNG file") from None
    if image_format not in _FORMATS:
        raise InputError(path, f"unsupported picture format {image_format}", "convert the picture to JPEG or PNG")
    return PictureHeader(height, width, _exif_orientation(exif))


def _exif_orientation(exif: bytes | None) -> int:
    """The orientation in a block of EXIF data; AS_STORED if it is missing or unreadable."""
    if not exif:
        return AS_STORED
    tags = Image.Exif()
    try:
        tags.load(exif)
        return tags.get(_EXIF_ORIENTATION, AS_STORED)
    except Exception:  # Pillow raises many types for damaged EXIF data; only a count of problems depends on the value
        return AS_STORED
