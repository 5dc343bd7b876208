"""Pipes, devices and endless links in place of files are errors, and nothing waits for them."""

import json
import os
import signal

import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.facts.errors import InputError

XML = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    "<ymax>9</ymax></bndbox></object></annotation>"
)
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
}
PICTURE = None  # the content of a picture
TREES = {  # the data, its split, and its files
    "voc": (
        "voc:{}",
        "train",
        {"Annotations/a.xml": XML, "JPEGImages/a.jpg": PICTURE, "ImageSets/Main/train.txt": "a"},
    ),
    "coco": ("coco:{}/a.json", ALL, {"a.json": json.dumps(COCO), "a.jpg": PICTURE}),
    "csv": ("csv:{}/a.csv", ALL, {"a.csv": "image,xmin,ymin,xmax,ymax,class\na.jpg,1,1,9,9,cat\n", "a.jpg": PICTURE}),
    "yolo": (
        "yolo:{}/data.yaml",
        "train",
        {"data.yaml": "train: images\nnames: [cat]\n", "images/a.jpg": PICTURE, "labels/a.txt": "0 0.5 0.5 0.5 0.5\n"},
    ),
    "yolo, a list": (
        "yolo:{}/data.yaml",
        "train",
        {"data.yaml": "train: list.txt\nnames: [cat]\n", "list.txt": "images/a.jpg\n", "images/a.jpg": PICTURE,
         "labels/a.txt": "0 0.5 0.5 0.5 0.5\n"},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting():
    """A reader that waits for a pipe is interrupted."""

    def stop(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(path) if content is PICTURE else path.write_text(content)


@pytest.mark.parametrize("kind", TREES)
def test_the_trees_are_readable(tmp_path, kind):
    data, split, files = TREES[kind]
    make(tmp_path, files)
    assert len(load_dataset(DataSpec(data=data.format(tmp_path)), split).examples) == 1


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, _, files) in TREES.items() for name in files])
@pytest.mark.parametrize("special", ["pipe", "link to itself", "device"])
def test_a_special_file_is_an_error(tmp_path, kind, name, special):
    data, split, files = TREES[kind]
    make(tmp_path, files)
    path = tmp_path / name
    path.unlink()
    if special == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if special == "link to itself" else "/dev/zero")
    with pytest.raises(InputError) as error:
        load_dataset(DataSpec(data=data.format(tmp_path)), split)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["class_map", "split_by"])
def test_so_is_one_that_an_option_names(tmp_path, option):
    data, split, files = TREES["coco"]
    make(tmp_path, files)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"not a regular file"):
        load_dataset(DataSpec(data=data.format(tmp_path), **{option: str(tmp_path / "pipe")}), split)
