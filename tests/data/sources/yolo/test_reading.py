"""YOLO data sets: the layouts, dirty real ones, what is read, and one line for each bad field."""

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.yolo import data_yaml as yolo_yaml
from keras_frcnn.data.sources.yolo import labels as yolo_labels
from keras_frcnn.data.sources.yolo import reading as yolo
from keras_frcnn.facts.errors import InputError

HEIGHT, WIDTH = 40, 64
ROW = "1 0.5 0.5 0.25 0.5\n"  # y 10..30, x 24..40


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def example_of(root, images, labels, name="1", rows=ROW, suffix=".jpg"):
    picture(root / images / f"{name}{suffix}")
    write(root / labels / f"{name}.txt", rows)


def load(path, split="train", **options):
    return load_dataset(DataSpec(data=f"yolo:{path}", **options), split)


def one_split(root, rows=ROW, yaml="names: [cat, dog]"):
    """The data set of one picture with these rows."""
    example_of(root, "images/train", "labels/train", rows=rows)
    write(root / "data.yaml", f"train: images/train\n{yaml}\n")
    return load(root)


def test_rows_are_boxes_in_fractions(tmp_path):
    data = one_split(tmp_path, ROW + "\n0.0 0.3 0.2 0.5 0.3\n")
    assert data.class_names == ("cat", "dog") and data.problems == {}
    (example,) = data.examples
    assert example.image_id == "1" and (example.height, example.width) == (HEIGHT, WIDTH)
    # 0.05 and 0.55 of 64 are no multiples of 1/1024: 3.2 and 35.2 are rounded to it.
    expected = np.float32([[10, 24, 30, 40], [2, 3277 / 1024, 14, 36045 / 1024]])
    np.testing.assert_array_equal(example.boxes, expected)
    assert example.classes.tolist() == [2, 1] and not example.difficult.any()
    assert example.crowd is None and example.areas is None


def test_a_polygon_is_the_box_around_it(tmp_path):
    data = one_split(tmp_path, "0 0.25 0.5 0.75 0.25 0.5 0.75\n1 0.125 0.25 0.5 0.25 0.5 0.5 0.125 0.5\n")
    np.testing.assert_array_equal(data.examples[0].boxes, np.float32([[10, 16, 30, 48], [10, 8, 20, 32]]))


def test_rows_with_key_points_are_boxes(tmp_path):
    rows = "0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.9 0.9 2\n"
    data = one_split(tmp_path, rows, "names: [cat]\nkpt_shape: [2, 3]")
    np.testing.assert_array_equal(data.examples[0].boxes, np.float32([[10, 24, 30, 40]]))


# Layouts.


def ultralytics(root, head=""):
    for split, name in (("train", "1"), ("val", "2")):
        example_of(root, f"images/{split}", f"labels/{split}", name)
    write(root / "data.yaml", f"{head}train: images/train\nval: images/val\ntest:\nnames:\n  0: cat\n  1: dog\n")


def roboflow(root, head="../"):
    for split, name in (("train", "1"), ("valid", "2"), ("test", "3")):
        example_of(root, f"{split}/images", f"{split}/labels", name)
    lines = [f"train: {head}train/images", f"val: {head}valid/images", f"test: {head}test/images", "nc: 2"]
    write(root / "data.yaml", "\n".join([*lines, "names: ['cat', 'dog']", "roboflow:", "  version: 3"]))


def ids_of(path, split):
    return [one.image_id for one in load(path, split).examples]


@pytest.mark.parametrize("head", ["", "path: .\n", "path: {0}\n", "path: /content/datasets/pets\n", "path:\n"])
def test_the_layout_of_ultralytics(tmp_path, head):
    ultralytics(tmp_path, head.format(tmp_path))
    assert dataset_splits(DataSpec(data=f"yolo:{tmp_path}")) == ("train", "val")
    assert ids_of(tmp_path, "train") == ["1"] and ids_of(tmp_path / "data.yaml", "val") == ["2"]
    assert ids_of(tmp_path, "all") == ["train/1", "val/2"]
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog") and len(data.examples[0].boxes) == 1 and data.problems == {}


def test_a_path_key_leads_to_the_pictures(tmp_path):
    ultralytics(tmp_path / "pets")
    write(tmp_path / "pets.yaml", "path: pets\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    assert ids_of(tmp_path / "pets.yaml", "train") == ["1"] and load(tmp_path / "pets.yaml").problems == {}
    assert ids_of(tmp_path, "train") == ["1"]  # the only YAML file of the folder


@pytest.mark.parametrize("head", ["", "../", "/content/pets-3/", "C:\\\\pets\\\\", "../../other/"])
def test_the_layout_of_roboflow(tmp_path, head):
    roboflow(tmp_path, head)
    assert dataset_splits(DataSpec(data=f"yolo:{tmp_path}")) == ("train", "val", "test")
    for split, image_id in (("train", "1"), ("val", "2"), ("valid", "2"), ("test", "3")):
        data = load(tmp_path, split)
        assert [one.image_id for one in data.examples] == [image_id] and len(data.examples[0].boxes) == 1
        assert list(data.problems) == ([yolo_yaml.OTHER_FOLDER] if head else [])
    if head:
        with pytest.raises(InputError, match=f"data.yaml, train: pictures .*; write {tmp_path}/train/images, or read"):
            load(tmp_path, strict=True)


def test_a_split_folder_under_another_name(tmp_path):
    roboflow(tmp_path, "")
    text = (tmp_path / "data.yaml").read_text()
    write(tmp_path / "data.yaml", text.replace("val: valid/images", "val: val/images"))
    data = load(tmp_path, "val")
    assert [one.image_id for one in data.examples] == ["2"] and list(data.problems) == [yolo_yaml.OTHER_FOLDER]


def test_a_missing_folder_never_stands_for_the_pictures_of_all_splits(tmp_path):
    ultralytics(tmp_path)
    write(tmp_path / "data.yaml", "train: ../train/images\ntest: ../test/images\nnames: [cat, dog]\n")
    assert ids_of(tmp_path, "train") == ["1"]  # images/train, not images
    with pytest.raises(InputError, match=f"data.yaml, test: '../test/images' not found .tried {tmp_path}/../test/ima"):
        load(tmp_path, "test")


def test_lists_of_folders_and_of_pictures(tmp_path):
    example_of(tmp_path, "a/images", "a/labels", "1")
    example_of(tmp_path, "b/images", "b/labels", "1")
    write(tmp_path / "train.txt", f"./a/images/1.jpg\n\n{tmp_path}/b/images/1.jpg\n")
    yaml = "train: [a/images, b/images]\nval: train.txt\nextra: a/images\nnames: [cat, dog]\n"
    write(tmp_path / "data.yaml", yaml)
    assert dataset_splits(DataSpec(data=f"yolo:{tmp_path}")) == ("train", "val", "extra")
    for split in ("train", "val"):
        data = load(tmp_path, split)
        assert [one.image_id for one in data.examples] == ["a/images/1", "b/images/1"]
        assert [len(one.boxes) for one in data.examples] == [1, 1]
    write(tmp_path / "train.txt", "a/images/1.jpg\na/images/2.jpg\n")
    with pytest.raises(InputError, match="train.txt, line 2: picture 'a/images/2.jpg' not found; correct the path"):
        load(tmp_path, "val")


def test_labels_beside_the_pictures_and_a_folder_images_above(tmp_path):
    root = tmp_path / "images" / "set"  # the folder images above has no folder labels beside it
    for name in ("1", "b/2.x", "b/2.y"):
        example_of(root, "train", "train", name, suffix=".JPG")
    write(root / "data.yaml", "train: train\nnames: [cat, dog]\n")
    data = load(root)
    assert [one.image_id for one in data.examples] == ["1", "b/2.x", "b/2.y"]
    assert all(len(one.boxes) == 1 for one in data.examples)


def test_pictures_in_subfolders_are_in_order(tmp_path):
    names = [f"{number * 37 % 101:03d}/1" for number in range(30)]  # not in the order in which they are made
    for name in names:
        example_of(tmp_path, "train", "train", name)
    write(tmp_path / "data.yaml", "train: train\nnames: [cat, dog]\n")
    assert ids_of(tmp_path, "train") == sorted(names) != names


def test_pictures_of_the_same_name_keep_their_suffix(tmp_path):
    for suffix in (".jpg", ".png"):
        example_of(tmp_path, "train", "train", "1", suffix=suffix)
    example_of(tmp_path, "train", "train", "2")
    write(tmp_path / "data.yaml", "train: train\nnames: [cat, dog]\n")
    assert ids_of(tmp_path, "train") == ["1.jpg", "1.png", "2"]


# Dirty data.


def test_pictures_without_label_file_have_no_objects_and_are_counted(tmp_path):
    example_of(tmp_path, "images/train", "labels/train", "empty", rows="")
    picture(tmp_path / "images/train/none.jpg")
    data = one_split(tmp_path)
    assert [(one.image_id, len(one.boxes)) for one in data.examples] == [("1", 1), ("empty", 0), ("none", 0)]
    assert data.problems == {yolo.NO_LABELS: (str(tmp_path / "images/train/none.jpg"),)}


def test_pictures_without_any_label_file_are_refused(tmp_path):
    picture(tmp_path / "images/train/1.jpg")
    write(tmp_path / "data.yaml", "train: images/train\nnames: [cat]\n")
    with pytest.raises(InputError, match="data.yaml, train: none of the 1 pictures has a label file such as .*1.txt"):
        load(tmp_path)


@pytest.mark.parametrize("yaml", ["nc: 1\nnames: [cat]", "nc: 1", "nc: 1\nnames:", "names: {0: class_0}"])
def test_a_class_number_without_a_name_gets_one(tmp_path, yaml):
    data = one_split(tmp_path, "0 .5 .5 .5 .5\n7 .5 .5 .5 .5\n7 .5 .5 .5 .5\n", yaml)
    assert data.class_names == ("cat" if "cat" in yaml else "class_0", "class_7")
    assert data.examples[0].classes.tolist() == [1, 2, 2]
    assert {kind: len(files) for kind, files in data.problems.items()} == {yolo_labels.UNNAMED: 2}
    with pytest.raises(InputError, match="1.txt, line 2: class number without .*; add class 7 to names in the YAML"):
        load(tmp_path, strict=True)


def test_names(tmp_path):
    data = one_split(tmp_path, yaml="nc: 5\nnames: {2: no, 0: 'a b', 3: \"1\"}")
    assert data.class_names == ("a b", "class_1", "no", "1") and list(data.problems) == [yolo_yaml.OTHER_COUNT]
    data = one_split(tmp_path, "0 .5 .5 .5 .5\n2 .5 .5 .5 .5\n", yaml="names: [cat, dog, cat]")
    assert data.class_names == ("cat", "dog") and data.examples[0].classes.tolist() == [1, 1]
    assert list(data.problems) == [yolo_yaml.SAME_NAME]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0 .5 .5 .1 .1 .9", "six numbers are a detection with a score, not a label; use the label files"),
        ("0 .5 .5 .1", "expected 5 numbers, or 7 or more for a polygon .got 4.; write class x_center"),
        ("0", "expected 5 numbers, or 7 or more for a polygon .got 1."),
        ("0 .5 .5 .1 .1 .1 .1 .1", "expected 5 numbers, or 7 or more for a polygon .got 8."),
        ("cat .5 .5 .1 .1", "expected a finite number .got 'cat'.; write a number"),
        ("0 .5 nan .1 .1", "expected a finite number .got 'nan'."),
        ("-1 .5 .5 .1 .1", "-1 is not the number of a class; number the classes from 0"),
        ("1.5 .5 .5 .1 .1", "1.5 is not the number of a class"),
        ("1e9 .5 .5 .1 .1", "1e.09 is not the number of a class"),
        ("0 320 240 50 60", "expected fractions of the picture's sides .got 320 240 50 60.; divide x by the width"),
    ],
)
def test_a_bad_row_names_the_file_and_the_line(tmp_path, rows, message):
    with pytest.raises(InputError, match=f"^{tmp_path}/labels/train/1.txt, line 2: {message}"):
        one_split(tmp_path, f"\n{rows}\n{ROW}")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: cat", ", names: expected a list .got 'cat'."),
        ("names: [cat, '']", ", names, 1: expected a name"),
        ("names: [cat, [dog]]", ", names, 1: expected a name"),
        ("names: []", ", names: there are no classes"),
        ("names: {cat: 0}", ", names: 'cat' is not the number of a class"),
        ("names: {999999999: cat}", ", names: '999999999' is not the number of a class"),
        ("kind: pets", ", names: missing field; write names:"),
        ("names: [cat]\nnc: many", ", nc: expected the number of classes .got 'many'."),
        ("names: [cat]\npath: [a]", r", path: expected a folder .got \['a'\]."),
        ("names: [cat]\nval: {a: b}", ", val: expected a folder"),
        ("a: &a [cat]\nnames: *a", ": uses a YAML alias, which is not allowed; write the values out"),
        ("names: [cat", ": is not valid YAML"),
        ("names: !!python/object/apply:os.system [ls]", ", names, 0: expected a name|, names"),
        ("[" * 10_000, ": is not valid YAML"),
    ],
)
def test_a_bad_yaml_names_the_field(tmp_path, yaml, message):
    if yaml.startswith("names: !!"):
        assert one_split(tmp_path, yaml=yaml).class_names == ("ls", "class_1")  # a list, nothing is run
        return
    with pytest.raises(InputError, match=f"^{tmp_path}/data.yaml{message}"):
        one_split(tmp_path, yaml=yaml)


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ("yolo:", "train", "^--data yolo: the path of the data set is missing; use yolo:FOLDER or yolo:FILE.yaml$"),
        ("yolo:{0}/no", "train", "no: folder or file not found"),
        ("yolo:{0}/images", "train", "images: holds no data.yaml; write one with train"),
        ("yolo:{0}", "test", "split 'test': the data has no such split; use one of: train, val, all$"),
        ("yolo:{0}/list.yaml", "train", "list.yaml: is not a YAML mapping"),
        ("yolo:{0}/none.yaml", "train", "none.yaml: names no split; write train: FOLDER"),
        ("yolo:{0}/empty.yaml", "train", "empty.yaml, train: there are no pictures .JPEG or PNG."),
        ("yolo:{0}/several", "train", "several: holds several YAML files: a.yaml, b.yaml; use yolo:FILE.yaml"),
    ],
)
def test_bad_paths_and_splits(tmp_path, data, split, message):
    ultralytics(tmp_path)
    write(tmp_path / "list.yaml", "[a]")
    write(tmp_path / "none.yaml", "names: [a]")
    write(tmp_path / "empty.yaml", "train: labels\nnames: [a]")
    write(tmp_path / "several" / "a.yaml", "")
    write(tmp_path / "several" / "b.yaml", "")
    with pytest.raises(InputError, match=message):
        load_dataset(DataSpec(data=data.format(tmp_path)), split)


def test_a_huge_yaml_is_refused(tmp_path, monkeypatch):
    ultralytics(tmp_path)
    monkeypatch.setattr(yolo_yaml, "_LARGEST", 20)
    with pytest.raises(InputError, match="data.yaml: is larger than 20 bytes"):
        load(tmp_path)
