"""The pictures to compare on: drawn scenes, and files."""

import numpy as np
import pytest
from PIL import Image

from export.shared.pictures import given_images, synthetic_images
from keras_frcnn.facts.errors import InputError


def test_synthetic_images_are_the_same_each_time():
    first, second = (synthetic_images(2, (48, 64)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.shape(first) == (2, 48, 64, 3) and (first[0] != first[1]).any()


def test_given_images(tmp_path):
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "a.png")
    (image,) = given_images([tmp_path / "a.png"])
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8([1, 2, 3]), (4, 5, 3)))
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(InputError, match="b.png"):
        given_images([tmp_path / "b.png"])
