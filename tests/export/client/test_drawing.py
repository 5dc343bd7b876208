"""The pictures that the client draws on."""

import io

import numpy as np
import pytest
from PIL import Image

from export import client


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_server_and_not_the_file_says_how_a_picture_is_turned(stored_turned, orientation):
    shown = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8))
    stored, exif = stored_turned(shown, orientation)
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(client.read_pixels(buffer.getvalue(), "p", orientation), shown)
    np.testing.assert_array_equal(client.read_pixels(buffer.getvalue(), "p", 1), stored)


@pytest.mark.parametrize("mode, colour", [("L", 128), ("LA", (128, 10)), ("RGBA", (128, 128, 128, 10)), ("P", 128),
                                          ("CMYK", (0, 0, 0, 127)), ("I;16", 128 * 256), ("1", 1)])  # fmt: skip
def test_pictures_of_all_kinds_can_be_drawn_on(mode, colour):
    if mode == "P":
        image = Image.new("P", (5, 4), colour)
        image.putpalette([i for i in range(256) for _ in range(3)])
    else:
        image = Image.new(mode, (5, 4), colour)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    pixels = np.asarray(client.read_pixels(buffer.getvalue(), "p", 1))
    assert pixels.shape == (4, 5, 3)
    np.testing.assert_allclose(pixels, 255 if mode == "1" else 128, atol=1)


def test_a_box_is_drawn_on_its_border_in_its_class_colour():
    image = Image.new("RGB", (200, 100), "black")
    drawn = np.asarray(client.draw(image, [[40.0, 50.0, 80.0, 150.0]], [3], [0.75], ["hen"]))
    frame = drawn[40, 60]
    assert frame.max() == 255 and (drawn[79, 60] == frame).all() and (drawn[60, 51] == frame).all()
    assert not drawn[45:75, 55:145].any() and not drawn[85:].any()  # nothing within, nothing below
    assert drawn[20:39, 50:90].any()  # the label above
    assert not np.asarray(image).any()  # the original picture is unchanged
    other = np.asarray(client.draw(image, [[40.0, 50.0, 80.0, 150.0]], [4], [0.75], ["pig"]))
    assert (other[40, 60] != frame).any()
    client.draw(image, [[-5.0, -5.0, 500.0, 500.0], [99.0, 199.0, 99.0, 199.0]], [1, 2], [0.5, 0.5], [1, 2])
