"""The pictures to compare on: drawn scenes, and files."""

from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

from export.shared.pictures import MOST_COMPARED, given_images, images_to_compare, synthetic_images
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
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


def test_pictures_to_compare_are_the_users_if_there_are_any(dogs, tmp_path):
    """Given, calibration, data, drawn, in this order; the number in a picture's name is its colour."""
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        Image.new("RGB", (5, 4), (number, 0, 0)).save(path)
    dataset = load_dataset(DataSpec(data=f"voc:{dogs}"), "test")
    model = ImageConfig()

    def chosen(images, calibrate, dataset):
        return images_to_compare(Namespace(images=images, calibrate=calibrate), model, dataset)

    assert [int(image[0, 0, 0]) for image in chosen(paths[3:5], paths, dataset)] == [3, 4]
    assert (
        [int(image[0, 0, 0]) for image in chosen(None, paths, dataset)] == list(range(MOST_COMPARED)) == list(range(8))
    )
    for image, example in zip(chosen(None, None, dataset), dataset.examples, strict=True):
        np.testing.assert_array_equal(image, read_example(example))
    assert [image.shape for image in chosen(None, None, None)] == [(480, 640, 3)] * 4
    assert [image.shape for image in chosen(None, None, dataset.select([]))] == [(480, 640, 3)] * 4
