"""Writing a data set: whole or not at all, names of files, linked pictures, and pictures with an EXIF orientation."""

import errno
import importlib
import inspect
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.shared.annotations import EXIF_IGNORED
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.writers import coco, naming, voc
from keras_frcnn.data.writers.losses import EXIF_POLICY, RENAMED, Losses
from keras_frcnn.data.writers.table import WRITERS
from keras_frcnn.data.writers.writing import SPLITS, write_dataset
from keras_frcnn.facts.errors import InputError

HEIGHT, WIDTH = 30, 50
WITH_FILES = [kind for kind in WRITERS if kind != "tfrecord"]  # formats that have picture files


def example(folder, image_id, name=None, orientation=1, boxes=((1, 2, 20, 25),), **fields):
    """An example with a picture file of its own, which has the EXIF orientation."""
    path = folder / (name or f"{image_id}.jpg".replace("/", "-"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, "JPEG", exif=exif)
    count = len(boxes)
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Example(image_id, str(path), HEIGHT, WIDTH, rows, np.ones(count, np.int32), np.zeros(count, bool), **fields)


def dataset(*examples, names=("cat",), problems=None, exif="ignore"):
    return Dataset("made", names, examples, problems or {}, exif)


@pytest.mark.parametrize("kind", WRITERS)
def test_each_format_has_its_function(kind):
    module = importlib.import_module(WRITERS[kind].module)
    assert list(inspect.signature(module.write).parameters) == ["datasets", "out", "link"]


@pytest.mark.parametrize("kind", WITH_FILES)
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, kind):
    (tmp_path / "in").mkdir()
    one, other = (example(tmp_path / "in", name) for name in "ab")
    copied = []

    def full(source, target):
        if copied:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(target.write_bytes(b"picture"))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="out: cannot be written .No space left on device.; free some space"):
        write_dataset(kind, {"train": dataset(one, other)}, tmp_path / "out")
    assert copied and os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_picture_that_vanished_is_named(tmp_path, kind):
    (tmp_path / "in").mkdir()
    one = example(tmp_path / "in", "a")
    os.remove(one.image_path)
    with pytest.raises(InputError, match=f"^{one.image_path}: cannot be read .No such file or directory.; restore"):
        write_dataset(kind, {"train": dataset(one)}, tmp_path / "out")


def test_a_full_disk_is_not_the_fault_of_the_picture(tmp_path, monkeypatch):
    one = example(tmp_path, "a")

    def full(source, target):  # names both, as the real one does
        raise OSError(errno.ENOSPC, "No space left on device", source, None, str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="^.*out: cannot be written .No space left on device.; free some space"):
        write_dataset("voc", {"train": dataset(one)}, tmp_path / "out")


def test_only_a_new_or_empty_folder_is_written(tmp_path):
    one = dataset(example(tmp_path, "a"))
    (tmp_path / "empty").mkdir()
    write_dataset("voc", {"train": one}, tmp_path / "empty")
    before = sorted((tmp_path / "empty").rglob("*"))
    for taken in ("empty", "a.jpg"):
        with pytest.raises(InputError, match=f"{taken}: already exists and is not an empty folder; use a new folder"):
            write_dataset("voc", {"train": one}, tmp_path / taken)
    assert sorted((tmp_path / "empty").rglob("*")) == before


def test_a_split_whose_name_is_no_file_name_is_renamed(tmp_path):
    losses = write_dataset("voc", {"VOC2007/val": dataset(example(tmp_path, "a"))}, tmp_path / "out")
    assert losses == [(f"{SPLITS} (VOC2007/val is VOC2007_val)", 1)]
    assert len(load_dataset(DataSpec(data=f"voc:{tmp_path / 'out'}"), "VOC2007_val").examples) == 1


def test_a_picture_in_two_splits_is_refused(tmp_path):
    one = dataset(example(tmp_path, "a"))
    with pytest.raises(InputError, match="split val: the picture .*a.jpg is also in the split train; choose splits"):
        write_dataset("coco", {"train": one, "val": one}, tmp_path / "out")


@pytest.mark.parametrize("kind", WITH_FILES)
def test_pictures_are_copies_or_links(tmp_path, kind, monkeypatch):
    one = dataset(example(tmp_path, "a"))

    def written(link):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        write_dataset(kind, {"train": one}, out, link)
        (picture,) = out.rglob("*.jpg")
        assert picture.read_bytes() == (tmp_path / "a.jpg").read_bytes()
        return os.path.samefile(picture, tmp_path / "a.jpg")

    assert not written(link=False) and written(link=True)

    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert not written(link=True)


def test_names_are_safe_and_unique(tmp_path):
    ids = [
        "000001",
        "a b/c",
        "a_b_c",
        "A_B_C",
        "../x",
        ".hidden",
        "-rf",
        "\u732b.1",
        "e\u0301",
        "x" * 300,
        "x" * 301,
        ".",
    ]
    made = dataset(*(Example(one, "", 1, 1, *(np.zeros(0),) * 3) for one in ids))
    losses = Losses()
    names = naming.safe_names({"train": made}, losses)["train"]
    assert names[:5] == ["000001", "a_b_c", "a_b_c_2", "A_B_C_3", "__x"]
    assert names[5:9] == ["_hidden", "_-rf", "\u732b.1", "\u00e9"]
    assert names[9:] == ["x" * 200, "x" * 200 + "_2", "_"]
    assert len({name.casefold() for name in names}) == len(ids)
    assert losses.listed() == [(RENAMED, sum(one != name for one, name in zip(ids, names, strict=True)))]


def test_suffixes_are_those_of_the_format(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "png", "PNG")
    Image.new("RGB", (5, 5)).save(tmp_path / "picture.jfif", "JPEG")
    Image.new("RGB", (5, 5)).save(tmp_path / "picture.JPG", "JPEG")
    (tmp_path / "out").mkdir()
    names = [
        naming.place_picture(str(tmp_path / source), tmp_path / "out", name, link=False)
        for source, name in (("png", "a"), ("picture.jfif", "b.c"), ("picture.JPG", "d"))
    ]
    assert names == ["a.png", "b.c.jpg", "d.jpg"]


def test_the_classes_of_all_splits_are_joined():
    def named(*names):
        return dataset(names=names)

    assert naming.all_class_names([named("a", "c"), named("b", "c")]) == ("a", "b", "c")  # found in the objects
    assert naming.all_class_names([named("c", "a"), named("c", "a")]) == ("c", "a")  # declared
    assert naming.all_class_names([named("c", "a"), named("b")]) == ("c", "a", "b")


@pytest.mark.parametrize("kind", WRITERS)
def test_splits_with_other_classes_keep_their_labels(tmp_path, kind):
    splits = {
        "train": dataset(example(tmp_path, "1"), names=("dog",)),
        "val": dataset(example(tmp_path, "2"), names=("cat",)),
    }
    write_dataset(kind, splits, tmp_path / "out")
    for split, name in (("train", "dog"), ("val", "cat")):
        read = load_dataset(DataSpec(data=f"{kind}:{tmp_path / 'out'}"), split)
        assert [read.class_names[c - 1] for one in read.examples for c in one.classes] == [name]


# What a format does not hold.


def test_coco_numbers_pictures_whose_ids_are_no_numbers(tmp_path):
    made = {"train": dataset(example(tmp_path, "7"), example(tmp_path, "2")), "val": dataset(example(tmp_path, "3"))}
    assert write_dataset("coco", made, tmp_path / "a") == []
    made["val"] = dataset(example(tmp_path, "07"))
    assert write_dataset("coco", made, tmp_path / "b") == [(coco.NUMBERED, 2)]  # 7 and 07: the 2 is the second picture

    made["val"] = dataset(example(tmp_path, "7", "other.jpg"))  # each split counts its pictures on its own
    assert write_dataset("coco", made, tmp_path / "c") == [(RENAMED, 1), (coco.NUMBERED, 2)]

    def ids(folder):
        files = (folder / "annotations" / f"instances_{split}.json" for split in made)
        return [one["id"] for file in files for one in json.loads(file.read_text())["images"]]

    assert ids(tmp_path / "a") == [7, 2, 3] and ids(tmp_path / "b") == ids(tmp_path / "c") == [1, 2, 3]


def test_voc_does_not_state_the_classes(tmp_path):
    for number, names in enumerate([("cat",), ("cat", "dog"), ("b", "a")]):
        made = dataset(example(tmp_path, "1"), names=names)
        losses = dict(write_dataset("voc", {"train": made}, tmp_path / f"out{number}"))
        assert losses == ({voc.CLASSES: 2} if number else {})


def test_a_corner_too_close_to_the_border_for_the_1_of_voc_is_counted(tmp_path):
    one = example(tmp_path, "1", boxes=((1e-10, 0.5, 20, 25), (0.125, 0.1, 20, 25)))
    assert write_dataset("voc", {"train": dataset(one)}, tmp_path / "out") == [(voc.ROUNDED, 1)]
    (read,) = load_dataset(DataSpec(data=f"voc:{tmp_path / 'out'}"), "train").examples
    assert read.boxes[1].tobytes() == one.boxes[1].tobytes()
    assert read.boxes[0].tobytes() != one.boxes[0].tobytes() and abs(read.boxes[0] - one.boxes[0]).max() < 1e-15


def turned(folder, orientation, apply):
    """A data set whose boxes refer to turned pictures (`apply`), or to the stored ones."""
    one = example(folder, "1", f"{orientation}.jpg", orientation)
    if apply:
        size = {"height": WIDTH, "width": HEIGHT} if orientation >= 5 else {}
        return dataset(one._replace(orientation=orientation, **size), exif="apply")
    return dataset(one, problems={EXIF_IGNORED: (one.image_path,)})


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_boxes_refer_to_the_same_picture_or_the_option_is_named(tmp_path, kind, orientation, apply):
    before = turned(tmp_path, orientation, apply)
    losses = dict(write_dataset(kind, {"train": before}, tmp_path / "out"))
    states_it = apply or (kind != "yolo" and orientation == 6)
    assert losses == ({} if states_it else {EXIF_POLICY: 1})
    exif = "auto" if states_it else "ignore"
    (after,) = load_dataset(DataSpec(data=f"{kind}:{tmp_path / 'out'}"), "train", exif).examples
    fields = ("height", "width", "orientation")
    assert [getattr(after, name) for name in fields] == [getattr(before.examples[0], name) for name in fields]
    np.testing.assert_array_equal(after.boxes, before.examples[0].boxes)
