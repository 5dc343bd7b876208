"""Every picture is read once, in order, and a damaged file is told apart from a truncated one."""

import cv2
import numpy as np
import pytest

from keras_frcnn.data.doctor.checks import decoding as pictures
from keras_frcnn.data.doctor.checks.decoding import read_picture, read_pictures
from keras_frcnn.data.pictures.near_duplicates import picture_hash
from keras_frcnn.data.sources.synthetic.drawn import draw_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five drawn pictures, 0.jpg to 4.jpg."""
    folder = tmp_path_factory.mktemp("five")
    for index in range(5):
        assert cv2.imwrite(str(folder / f"{index}.jpg"), draw_picture(1, "train", index, (64, 80)).image)
    return folder


@pytest.mark.parametrize("at_once", [2, 1000])
def test_all_are_read_in_order_and_counted(folder, monkeypatch, at_once):
    monkeypatch.setattr(pictures, "_AT_ONCE", at_once)
    paths = [str(folder / f"{index}.jpg") for index in (3, 0, 1, 4, 2)]
    counts = []

    def progress(items, count):
        counts.append(count)
        return items

    facts = read_pictures(paths, 2, progress)
    assert [fact.path for fact in facts] == paths and counts == [5]
    assert not any(fact.fault or fact.truncated for fact in facts)
    assert len({fact.digest for fact in facts}) == len({fact.hash for fact in facts}) == 5


def test_the_hash_is_that_of_the_decoded_pixels(folder):
    decoded = cv2.imread(str(folder / "0.jpg"))[..., ::-1].copy()
    assert (read_picture(str(folder / "0.jpg")).hash ^ picture_hash(decoded)).bit_count() <= 2


def test_faults(folder, tmp_path):
    encoded = (folder / "0.jpg").read_bytes()
    cut, padded, text = tmp_path / "cut.jpg", tmp_path / "padded.jpg", tmp_path / "text.jpg"
    cut.write_bytes(encoded[:-300])
    padded.write_bytes(encoded + b"\x00" * 7)
    text.write_bytes(b"<html>")
    assert read_picture(str(cut))[2:] == (None, "the end of the file is missing", True)
    assert read_picture(str(padded))[3:] == ("", False)
    damaged, missing = read_picture(str(text)), read_picture(str(tmp_path / "none.jpg"))
    assert damaged.hash is None and damaged.fault and "\n" not in damaged.fault and not damaged.truncated
    assert missing[1:] == (b"", None, "cannot be read (No such file or directory)", False)


def test_a_png_without_its_end_is_truncated(tmp_path):
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes()[:-2000])
    assert read_picture(str(path)).truncated
