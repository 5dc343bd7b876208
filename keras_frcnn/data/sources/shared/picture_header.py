"""Size and EXIF orientation of a picture file, read without decoding the pixels."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import check_regular
from keras_frcnn.facts.limits import PILLOW_LIMIT, check_pixels

AS_STORED = 1  # the EXIF orientation of a picture that viewers show as it is stored

_FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with a second picture behind the first, written by some cameras
_PREFIX = re.compile(rb"\A(Exif\0\0){1,2}")  # some writers write it twice
_ENTRY = 12  # bytes of one tag: number, type, count, value
_ORIENTATION = 0x0112  # the number of the tag
_SIZES = {3: 2, 4: 4}  # bytes of a value by the types that an orientation may have: SHORT and LONG


class PictureHeader(NamedTuple):
    """What the header of a picture file says."""

    height: int  # pixels as stored, EXIF orientation not applied
    width: int
    orientation: int  # EXIF orientation, 1..8; AS_STORED if there is none


def read_picture_header(path: Path, max_pixels: int = PILLOW_LIMIT) -> PictureHeader:
    """Read the header of a JPEG or PNG file.

    Raises:
      InputError: the file cannot be read, has another format, or more than `max_pixels` pixels.
    """
    try:
        check_regular(path)
        with Image.open(path) as image:
            width, height = image.size
            image_format = image.format
            exif = image.info.get("exif")  # image.getexif() would decode the whole of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, f"cannot be read as a picture ({error})", "replace it with a JPEG or PNG file") from None
    if image_format not in _FORMATS:
        raise InputError(path, f"unsupported picture format {image_format}", "convert the picture to JPEG or PNG")
    check_pixels(path, height, width, max_pixels)
    return PictureHeader(height, width, orientation_of(exif))


def orientation_of(exif: bytes | None) -> int:
    """The orientation that a block of EXIF data states, 1 to 8.

    `exif` is what Pillow gives as `image.info["exif"]`.  The result is AS_STORED if there are no EXIF data, or if they
    are damaged.  `pictures/orientation.py` applies the same rules to encoded pictures in a TensorFlow graph.
    """
    exif = _PREFIX.sub(b"", exif or b"")
    byte_order: Literal["little", "big"] = "big" if exif[:4] == b"MM\0*" else "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size].ljust(size, b"\0"), byte_order)

    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return AS_STORED
    directory = number(4, 4)
    count = min(number(directory, 2), (len(exif) - directory - 2) // _ENTRY)  # the directory may be cut off
    for start in range(directory + 2, directory + 2 + _ENTRY * count, _ENTRY):
        tag, kind, values = number(start, 2), number(start + 2, 2), number(start + 4, 4)
        if tag == _ORIENTATION and kind in _SIZES and values == 1:
            orientation = number(start + 8, _SIZES[kind])
            return orientation if 1 <= orientation <= 8 else AS_STORED
    return AS_STORED
