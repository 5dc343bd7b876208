"""The EXIF orientation of a picture: read from the bytes of its file, and applied to its pixels.

All functions work in a TensorFlow graph, so that a SavedModel turns pictures as training does.
`sources/shared/picture_header.py` applies the same rules without TensorFlow.

Sources: the Exif standard (CIPA DC-008), tag 274, Orientation; the PNG specification, third edition, chunk eXIf.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_frcnn.data.pictures.images import JPEG_START, PNG_START, decode_image, starts_with
from keras_frcnn.data.sources.shared.picture_header import AS_STORED
from keras_frcnn.facts.structures import Tensor

_PREFIX = b"Exif\0\0"  # in front of the EXIF data of a JPEG
_TAG, _SHORT, _LONG = 0x0112, 3, 4  # the tag Orientation, and the types that its value may have
_ENTRY = 12  # bytes of one tag: number, type, count, value
_MOST_PARTS = 1000  # segments of a JPEG or chunks of a PNG that are looked at; real files have some dozens
_EXIF_SEGMENT, _END, _SCAN = 0xE1, 0xD9, 0xDA  # markers of a JPEG: APP1, EOI, SOS


def decode_picture(encoded: Tensor, turned: bool) -> Tensor:
    """Decode a picture and, with `turned`, apply its EXIF orientation: () string -> (H, W, 3) uint8 RGB.

    `turned` is `ImageConfig.applies_exif` of the model.  Raises the errors of `decode_image`.
    """
    image = decode_image(encoded)
    return apply_orientation(image, exif_orientation(encoded)) if turned else image


def apply_orientation(image: Tensor, orientation: Tensor | int) -> Tensor:
    """Turn or mirror a picture as its EXIF orientation says.

    Args:
        image: (H, W, 3), as stored.
        orientation: () integer, 1 to 8.

    Returns:
        The picture as viewers show it: (H, W, 3), or (W, H, 3) for the orientations 5 to 8.
    """

    def mirrored(image: Tensor, axis: int, orientations: list[int]) -> Tensor:
        wanted = tf.reduce_any(tf.equal(orientation, orientations))
        return tf.cond(wanted, lambda: tf.reverse(image, [axis]), lambda: image)

    def transposed() -> Tensor:
        # A gather, because tf.transpose of uint8 prints an error on CPUs without AVX-512.
        height, width = tf.unstack(tf.shape(image)[:2])
        positions = tf.range(height)[None, :] * width + tf.range(width)[:, None]  # (W, H)
        return tf.gather(tf.reshape(image, [height * width, image.shape[-1]]), positions)

    turned = tf.cond(tf.greater(orientation, 4), transposed, lambda: image)
    turned = mirrored(turned, axis=1, orientations=[2, 3, 6, 7])
    return mirrored(turned, axis=0, orientations=[3, 4, 7, 8])


def exif_orientation(encoded: Tensor) -> Tensor:
    """Read the EXIF orientation of a picture file.

    Of a JPEG, the segments APP1 before the first scan count; of a PNG, the chunk eXIf before the pixels.

    Args:
        encoded: () string, the bytes of the file.

    Returns:
        () int32, 1 to 8.  It is 1 if the file has no orientation, or if its EXIF data are damaged: any bytes are
        allowed, and none raises an error.
    """
    exif = tf.case(
        [
            (starts_with(encoded, JPEG_START), lambda: _exif_of_jpeg(encoded)),
            (starts_with(encoded, PNG_START), lambda: _exif_of_png(encoded)),
        ],
        default=lambda: tf.constant(b""),
    )
    for _ in range(2):  # some writers write the prefix twice
        exif = tf.where(starts_with(exif, _PREFIX), _part(exif, len(_PREFIX), _length(exif)), exif)
    return _orientation_of_tiff(exif)


def _exif_of_jpeg(encoded: Tensor) -> Tensor:
    """The EXIF data of a JPEG, () string: the contents of its APP1 segments with EXIF data, joined; or no bytes."""
    length = _length(encoded)

    def next_segment(position: Tensor, exif: Tensor) -> tuple[Tensor, Tensor]:
        head = _bytes(encoded, position, 4)
        marker = tf.where(head[0] == 0xFF, head[1], 0)
        size = tf.maximum(_number(head[2:], big_endian=True), 2)  # of the segment with these two bytes
        begin = _part(encoded, position + 4, len(_PREFIX))
        content = _part(encoded, position + 4, size - 2)
        is_exif = (marker == _EXIF_SEGMENT) & (begin == _PREFIX)
        rest = _part(content, tf.where(is_exif & (exif != b""), len(_PREFIX), 0), _length(content))
        # Bytes of padding stand before a marker.  Markers from 0xD0 to 0xD9 have no size.
        is_padding = (head[0] != 0xFF) | (head[1] == 0xFF)
        has_size = (marker >= 0xC0) & (marker < 0xFF) & ((marker < 0xD0) | (marker > _END))
        step = tf.where(has_size, size + 2, 2 - tf.cast(is_padding, tf.int64))
        is_last = (marker == _SCAN) | (marker == _END)
        return tf.where(is_last, length, position + step), tf.strings.join([exif, tf.where(is_exif, rest, b"")])

    return _walk(encoded, 2, 4, next_segment)


def _exif_of_png(encoded: Tensor) -> Tensor:
    """The EXIF data of a PNG, () string, with the prefix that they have in a JPEG; or no bytes."""
    length = _length(encoded)

    def next_chunk(position: Tensor, exif: Tensor) -> tuple[Tensor, Tensor]:
        size = _number(_bytes(encoded, position, 4), big_endian=True)
        kind = _part(encoded, position + 4, 4)
        content = _part(encoded, position + 8, size)
        exif = tf.where(kind == b"eXIf", tf.strings.join([_PREFIX, content]), exif)
        return tf.where(kind == b"IDAT", length, position + 12 + size), exif

    return _walk(encoded, 8, 8, next_chunk)


def _walk(
    encoded: Tensor, start: int, head: int, next_part: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Walk through the parts of a file; returns the EXIF data that `next_part` found.

    `next_part` takes the position of a part, of which `head` bytes are in the file, and what was found before it.  It
    returns the next position and what is found now.
    """
    length = _length(encoded)
    _, exif = tf.while_loop(
        lambda position, _: position + head <= length,
        next_part,
        (tf.constant(start, tf.int64), tf.constant(b"")),
        maximum_iterations=_MOST_PARTS,
    )
    return exif


def _orientation_of_tiff(exif: Tensor) -> Tensor:
    """The orientation in the first directory of EXIF data, () string without prefix: () int32, 1 to 8."""
    order = _part(exif, 0, 4)
    big_endian, length = order == b"MM\0*", _length(exif)
    directory = _number(_bytes(exif, 4, 4), big_endian)
    count = tf.minimum(_number(_bytes(exif, directory, 2), big_endian), (length - directory - 2) // _ENTRY)
    count = tf.maximum(count, 0)  # a directory may lie outside of the data, or be cut off
    entries = _part(exif, directory + 2, _ENTRY * count)
    entries = tf.reshape(tf.cast(tf.io.decode_raw(entries, tf.uint8), tf.int64), [count, _ENTRY])
    tag, kind, number = (_number(entries[:, a:b], big_endian) for a, b in ((0, 2), (2, 4), (4, 8)))
    value = tf.where(kind == _SHORT, _number(entries[:, 8:10], big_endian), _number(entries[:, 8:12], big_endian))
    is_orientation = (tag == _TAG) & ((kind == _SHORT) | (kind == _LONG)) & (number == 1)
    first = tf.concat([tf.boolean_mask(value, is_orientation), [tf.constant(AS_STORED, tf.int64)]], axis=0)[0]
    is_known = (big_endian | (order == b"II*\0")) & (first >= 1) & (first <= 8)
    return tf.cast(tf.where(is_known, first, AS_STORED), tf.int32)


def _length(data: Tensor) -> Tensor:
    """The number of bytes of a () string: () int64."""
    return tf.cast(tf.strings.length(data), tf.int64)


def _part(data: Tensor, start: Tensor | int, size: Tensor | int) -> Tensor:
    """The bytes of a () string from `start` on, `size` of them or as many as there are: () string."""
    start = tf.minimum(tf.cast(start, tf.int64), _length(data))
    return tf.strings.substr(data, start, tf.cast(size, tf.int64))


def _bytes(data: Tensor, start: Tensor | int, count: int) -> Tensor:
    """Bytes of a () string: (count,) int64.  Zeros stand for bytes after its end."""
    return tf.cast(tf.io.decode_raw(_part(data, start, count), tf.uint8, fixed_length=count), tf.int64)


def _number(digits: Tensor, big_endian: Tensor | bool) -> Tensor:
    """The whole number that the bytes (..., K) write, K at most 4: (...) int64."""
    powers = [256**power for power in range(digits.shape[-1])]
    weights = tf.where(big_endian, tf.constant(powers[::-1], tf.int64), tf.constant(powers, tf.int64))
    return tf.reduce_sum(digits * weights, axis=-1)
