"""The EXIF orientation: read as Pillow reads it, applied as Pillow applies it, and harmless whatever the bytes are."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from keras_frcnn.data import orientation as module
from keras_frcnn.data.images import JPEG_START, PNG_START, decode_image
from keras_frcnn.data.orientation import apply_orientation, decode_picture, exif_orientation
from keras_frcnn.data.sources.picture_header import orientation_of, read_picture_header

ORIENTATIONS = range(1, 9)
PREFIX = b"Exif\0\0"
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
read_in_graph = tf.function(exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def segment(content, marker=0xE1):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg(*segments):
    """A JPEG with these segments after its start."""
    whole = encoded("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def png(*chunks):
    """A PNG with these chunks after its header."""
    whole = encoded("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def tiff(entries, order="<", directory=8, count=None, next_directory=0):
    """EXIF data with a first directory of (tag, type, number of values, four bytes of value)."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", directory)
    table = struct.pack(f"{order}H", len(entries) if count is None else count)
    for tag, kind, number, value in entries:
        table += struct.pack(f"{order}HHI", tag, kind, number) + value
    return start.ljust(directory, b"\xaa") + table + struct.pack(f"{order}I", next_directory)


def short(value, order="<"):
    return struct.pack(f"{order}Hxx", value)


def in_files(exif):
    """A JPEG and a PNG with a block of EXIF data without prefix."""
    return jpeg(segment(PREFIX + exif)), png(chunk(b"eXIf", exif))


def by_pillow(content):
    """The orientation that Pillow finds in the file."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
        return image.getexif().get(0x0112, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pictures_are_turned_as_pillow_turns_them(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(kind, exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert expected.shape == ((5, 7, 3) if orientation < 5 else (7, 5, 3))
    np.testing.assert_array_equal(decode_picture(tf.constant(content), turned=True), expected)
    np.testing.assert_array_equal(decode_picture(tf.constant(content), turned=False), decode_image(content))
    in_graph = tf.function(lambda content: decode_picture(content, turned=True))
    np.testing.assert_array_equal(in_graph(tf.constant(content)), expected)


def test_orientation_6_turns_clockwise():
    """Source: the Exif standard: the 0th row is the right side, the 0th column is the top."""
    stored = tf.constant([[[1], [2], [3]], [[4], [5], [6]]])
    np.testing.assert_array_equal(apply_orientation(stored, 6)[..., 0], [[4, 1], [5, 2], [6, 3]])
    np.testing.assert_array_equal(apply_orientation(stored, 8)[..., 0], [[3, 6], [2, 5], [1, 4]])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("directory", [8, 9, 11, 300])
def test_byte_orders_types_and_places_of_the_directory(order, directory):
    long = struct.pack(f"{order}I", 5)
    make = (0x010F, 2, 4, b"abc\0")
    for entries, expected in (
        ([(0x0112, 3, 1, short(6, order))], 6),
        ([make, (0x0112, 3, 1, short(8, order)), (0x0128, 3, 1, short(2, order))], 8),
        ([(0x0112, 4, 1, long)], 5),
        ([(0x0112, 3, 1, short(6, order)), (0x0112, 3, 1, short(3, order))], 6),  # Pillow, too, takes the first
        ([(0x0112, 3, 1, short(9, order))], 1),
        ([(0x0112, 3, 1, short(0, order))], 1),
        ([(0x0112, 3, 2, short(6, order))], 1),
        ([(0x0112, 7, 1, short(6, order))], 1),
        ([make], 1),
        ([], 1),
    ):
        exif = tiff(entries, order, directory)
        assert orientation_of(exif) == orientation_of(PREFIX + exif) == orientation_of(PREFIX * 2 + exif) == expected
        for content in in_files(exif):
            assert read_in_graph(content) == expected
            assert expected == 1 or by_pillow(content) == expected


SIX = tiff([(0x0112, 3, 1, short(6))])
DAMAGED = {
    "nothing": b"",
    "byte order alone": b"II*\0",
    "another byte order": b"XX" + SIX[2:],
    "another kind of TIFF": b"II+\0" + SIX[4:],
    "no directory": SIX[:8],
    "directory outside": SIX[:4] + struct.pack("<I", 5000) + SIX[8:],
    "directory at the end of 32 bits": SIX[:4] + b"\xff" * 4 + SIX[8:],
    "half an entry": SIX[:15],
}


@pytest.mark.parametrize("exif", DAMAGED.values(), ids=DAMAGED)
def test_damaged_exif_data_count_as_none(exif):
    assert orientation_of(exif) == 1
    for content in in_files(exif):
        assert read_in_graph(content) == 1


def test_a_count_of_entries_that_is_too_large_hides_nothing():
    exif = tiff([(0x0112, 3, 1, short(6))], count=0xFFFF)
    assert orientation_of(exif) == 6
    for content in in_files(exif):
        assert read_in_graph(content) == by_pillow(content) == 6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (jpeg(segment(b"a" * 70, 0xE0), segment(b"http://ns.adobe.com/xap/1.0/\0"), segment(PREFIX + SIX)), 6),
        (jpeg(segment(b"\xff\xe1 in a comment", 0xFE), b"\xff\xff\xff", segment(PREFIX + SIX)), 6),  # with padding
        (jpeg(segment(PREFIX + SIX[:14]), segment(PREFIX + SIX[14:])), 6),  # in two parts
        (jpeg(segment(PREFIX + SIX), segment(PREFIX + tiff([(0x0112, 3, 1, short(3))]))), 6),
        (jpeg(segment(PREFIX * 2 + SIX)), 6),
        (jpeg(segment(b"Exif\0" + SIX)), 1),
        (jpeg(segment(PREFIX + SIX, 0xE2)), 1),
        (encoded("JPEG") + segment(PREFIX + SIX), 1),  # after the end
        (png(chunk(b"tEXt", b"a\0b"), chunk(b"eXIf", SIX)), 6),
        (png(chunk(b"eXIf", PREFIX + SIX)), 6),
        (png(chunk(b"eXIf", tiff([])), chunk(b"eXIf", SIX)), 6),
        (png(chunk(b"exIF", SIX)), 1),
        (encoded("PNG")[:-12] + chunk(b"eXIf", SIX) + encoded("PNG")[-12:], 1),  # after the pixels
        (encoded("GIF"), 1),
        (encoded("BMP"), 1),
        (b"", 1),
    ],
)  # fmt: skip
def test_where_files_keep_exif_data(content, expected, tmp_path):
    assert read_in_graph(content) == expected
    if content.startswith((JPEG_START, PNG_START)):
        (tmp_path / "a").write_bytes(content)
        assert read_picture_header(tmp_path / "a").orientation == expected


def test_the_walk_ends():
    many = [segment(b"", 0xFE)] * (2 * module._MOST_PARTS)
    assert read_in_graph(jpeg(*many[:500], segment(PREFIX + SIX))) == 6
    assert read_in_graph(jpeg(*many, segment(PREFIX + SIX))) == 1
    assert read_in_graph(JPEG_START + bytes(10**6)) == 1
    assert read_in_graph(PNG_START + b"\xff" * 10**6) == 1


ENTRY = st.tuples(
    st.sampled_from([0x0112, 0x0112, 0x010F, 0xFFFF]),
    st.sampled_from([3, 3, 4, 1, 2, 7, 0, 0xFFFF]),
    st.sampled_from([1, 1, 0, 2, 2**32 - 1]),
    st.one_of(st.sampled_from([b"\6\0\0\0", b"\0\6\0\0", b"\0\0\0\6", b"\0\3\0\3"]), st.binary(min_size=4, max_size=4)),
)
HOSTILE = st.builds(
    lambda exif, size, order: order + exif[4:size],
    st.builds(
        tiff,
        st.lists(ENTRY, max_size=4),
        st.sampled_from("<>"),
        st.integers(8, 40),
        st.sampled_from([None, None, 0, 1, 3, 0xFFFF]),
    ),
    st.integers(0, 120),
    st.sampled_from([b"II*\0", b"MM\0*", b"MM*\0"]),
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(HOSTILE, st.binary(max_size=60)))
def test_any_exif_data_are_read_alike_in_the_graph_and_in_python(exif):
    expected = orientation_of(exif)
    assert expected in ORIENTATIONS
    for content in in_files(exif):
        assert read_in_graph(content) == expected


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", JPEG_START, PNG_START]), st.binary(max_size=80), st.binary(max_size=30))
def test_any_bytes_have_an_orientation(start, before, after):
    assert read_in_graph(start + before + b"\xff\xe1\0\x28" + PREFIX + after) in ORIENTATIONS


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(in_files(SIX)), st.integers(0, 200), st.binary(min_size=1, max_size=3), st.integers(0, 1000))
def test_a_damaged_file_is_read_as_its_header_is(tmp_path_factory, content, place, damage, size):
    content = (content[:place] + damage + content[place + len(damage) :])[: 40 + size]
    found = read_in_graph(content)
    assert found in ORIENTATIONS
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        decode_image(content)
        header = read_picture_header(path)
    except (ValueError, tf.errors.OpError):
        return  # neither training nor serving uses this picture
    assert found == header.orientation
