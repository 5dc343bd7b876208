"""Shared by the tests of the client: pictures to send, and what the fake model answers for them."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def png():
    """A function that gives the bytes of a PNG of one grey value."""

    def encode(height=20, width=30, value=100):
        buffer = io.BytesIO()
        Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def first_score():
    """A function from the bytes of a picture to the score of the fake model's first detection in it."""
    return lambda picture: 0.5 + len(picture) % 256 / 1024


@pytest.fixture
def pictures(png, tmp_path):
    """Five PNG files of different sizes."""
    paths = [tmp_path / f"picture{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(png(20 + 10 * i, 60 + 10 * i, value=40 * i))
    return paths
