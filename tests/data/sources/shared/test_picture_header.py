"""Headers of picture files: size, orientation, and files that are no pictures."""

import pytest
from PIL import Image

from keras_frcnn.data.sources.shared.picture_header import read_picture_header
from keras_frcnn.facts.errors import InputError

HEIGHT, WIDTH = 40, 60


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_size_and_orientation_are_those_of_the_file(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    assert read_picture_header(path) == (HEIGHT, WIDTH, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    assert read_picture_header(path) == (HEIGHT, WIDTH, 6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0damaged header", b"Exif\0\0II*\0damaged"])
def test_damaged_exif_data_count_as_none(tmp_path, exif):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    assert read_picture_header(path) == (HEIGHT, WIDTH, 1)


def test_a_bad_picture_is_named_with_its_fix(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(InputError, match=f"^{path}: cannot be read as a picture .*; replace it"):
        read_picture_header(path)
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"^{path}: cannot be read as a picture .*; replace it"):
        read_picture_header(path)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, format="WEBP")
    with pytest.raises(InputError, match=f"^{path}: unsupported picture format WEBP; convert the picture"):
        read_picture_header(path)
