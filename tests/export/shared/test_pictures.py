"""The pictures to compare on: drawn scenes, and files."""

import numpy as np
import pytest
from PIL import Image

from export.shared.pictures import given_images, synthetic_images
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError


def test_synthetic_images_are_the_same_each_time():
    first, second = (synthetic_images(2, (48, 64)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.shape(first) == (2, 48, 64, 3) and (first[0] != first[1]).any()


def test_given_images(tmp_path):
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "a.png")
    (image,) = given_images([tmp_path / "a.png"], ImageConfig())
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8([1, 2, 3]), (4, 5, 3)))
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(InputError, match="b.png"):
        given_images([tmp_path / "b.png"], ImageConfig())


@pytest.mark.parametrize(("exif", "shape"), [("auto", (4, 5, 3)), ("ignore", (4, 5, 3)), ("apply", (5, 4, 3))])
def test_given_images_are_turned_as_the_model_sees_them(tmp_path, exif, shape):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png", exif=tags)
    (image,) = given_images([tmp_path / "a.png"], ImageConfig(exif=exif))
    assert image.shape == shape
