"""COCO data sets: the layouts, what is read, and one line for each bad field."""

import contextlib
import io
import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.coco import instances as coco_json
from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import InputError

CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 90, "name": "hen"}]
HEIGHT, WIDTH = 40, 60


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


def image(number, name=None, **fields):
    return {"id": number, "file_name": name or f"{number}.jpg", "height": HEIGHT, "width": WIDTH, **fields}


def annotation(image_id=1, category_id=17, bbox=(1, 2, 10, 20), **fields):
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), **fields}


def instances(path, images=None, annotations=(), categories=CATEGORIES, **fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [image(1)] if images is None else images
    value = {"images": images, "annotations": list(annotations), "categories": categories, **fields}
    path.write_text(json.dumps(value))


def load(path, split="all", **options):
    return load_dataset(DataSpec(data=f"coco:{path}", **options), split)


def one_file(folder, *annotations, **fields):
    """The data set of one JSON file with the picture 1.jpg beside it."""
    picture(folder / "1.jpg")
    instances(folder / "set.json", annotations=annotations, **fields)
    return load(folder / "set.json")


def test_boxes_classes_and_flags(tmp_path):
    data = one_file(
        tmp_path,
        annotation(bbox=(1.5, 2.25, 10, 20), area=77.5),
        annotation(category_id=90, bbox=(0, 0, WIDTH, HEIGHT), iscrowd=1),
        annotation(category_id=3, bbox=(5, 6, 1, 1), ignore=1),
    )
    assert data.class_names == ("dog", "cat", "hen")  # in the order of the ids 3, 17, 90
    (example,) = data.examples
    assert example.image_id == "1" and (example.height, example.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(example.boxes, np.float32([[2.25, 1.5, 22.25, 11.5], [0, 0, 40, 60], [6, 5, 7, 6]]))
    assert example.classes.tolist() == [2, 3, 1]
    assert example.difficult.tolist() == [False, True, True] and example.crowd.tolist() == [False, True, False]
    assert example.areas.tolist() == [77.5, 2400.0, 1.0] and data.problems == {}


def test_float32_numbers_that_add_up_to_a_little_more_than_the_side_are_not_clipped(tmp_path):
    x, width = float(np.float32(0.1)), float(np.float32(59.9))
    assert x + width > WIDTH and np.float32(x + width) == WIDTH
    data = one_file(tmp_path, annotation(bbox=(x, 0, width, 10)))
    assert data.problems == {} and data.examples[0].boxes[0, 3] == WIDTH


def test_pycocotools_reads_the_same(tmp_path):
    from pycocotools.coco import COCO

    rng = np.random.default_rng(0)
    ids = rng.permutation(1000)[:20].tolist()
    objects = [
        annotation(int(rng.choice(ids)), int(rng.choice([3, 17, 90])), np.round(rng.uniform(1, 19, 4), 2).tolist(),
                   id=number, area=float(number), iscrowd=int(rng.integers(2)))
        for number in range(1, 100)
    ]  # fmt: skip
    for number in ids:
        picture(tmp_path / f"{number}.jpg")
    instances(tmp_path / "set.json", [image(number) for number in ids], objects)
    with contextlib.redirect_stdout(io.StringIO()):
        oracle = COCO(str(tmp_path / "set.json"))
    data = load(tmp_path / "set.json")
    names = {one["id"]: one["name"] for one in oracle.loadCats(oracle.getCatIds())}
    assert [one.image_id for one in data.examples] == [str(one["id"]) for one in oracle.dataset["images"]]
    total = 0
    for example in data.examples:
        expected = oracle.loadAnns(oracle.getAnnIds(imgIds=int(example.image_id)))
        total += len(expected)
        x, y, w, h = np.array([one["bbox"] for one in expected], np.float64).reshape(-1, 4).T
        np.testing.assert_array_equal(example.boxes, np.float32(np.stack([y, x, y + h, x + w], axis=1)))
        assert [data.class_names[c - 1] for c in example.classes] == [names[one["category_id"]] for one in expected]
        crowd = np.zeros(len(expected), bool) if example.crowd is None else example.crowd
        assert crowd.tolist() == [one["iscrowd"] == 1 for one in expected]
        areas = [] if example.areas is None else example.areas.tolist()
        assert areas == [one["area"] for one in expected]
    assert total == 99


# Layouts.


def coco_layout(root, pictures="{split}"):
    for number, split in enumerate(("train2017", "val2017"), start=1):
        instances(root / "annotations" / f"instances_{split}.json", [image(number)])
        (root / "annotations" / f"captions_{split}.json").write_text("{}")
        picture(root / pictures.format(split=split) / f"{number}.jpg")


def roboflow_layout(root):
    for split in ("train", "valid", "test"):
        instances(root / split / "_annotations.coco.json", [image(0, "a.rf.1f.jpg")])
        picture(root / split / "a.rf.1f.jpg")


@pytest.mark.parametrize("pictures", ["{split}", "images/{split}", "images"])
def test_the_layout_of_coco(tmp_path, pictures):
    coco_layout(tmp_path, pictures)
    assert dataset_splits(DataSpec(data=f"coco:{tmp_path}")) == ("train2017", "val2017")
    for split, number in (("train2017", "1"), ("train", "1"), ("val", "2"), ("valid", "2")):
        (example,) = load(tmp_path, split).examples
        assert example.image_id == number and example.image_path.endswith(f"{number}.jpg")
    assert [one.image_id for one in load(tmp_path, "all").examples] == ["train2017/1", "val2017/2"]
    (example,) = load(tmp_path / "annotations" / "instances_train2017.json").examples  # one file finds them, too
    assert example.image_id == "1"


def test_the_layout_of_roboflow(tmp_path):
    roboflow_layout(tmp_path)
    assert dataset_splits(DataSpec(data=f"coco:{tmp_path}")) == ("train", "valid", "test")
    for split, folder in (("train", "train"), ("val", "valid"), ("valid", "valid"), ("test", "test")):
        (example,) = load(tmp_path, split).examples
        assert example.image_id == "0" and example.image_path == str(tmp_path / folder / "a.rf.1f.jpg")
    assert [one.image_id for one in load(tmp_path, "train+val").examples] == ["train/0", "valid/0"]
    assert [one.image_id for one in load(tmp_path / "train" / "_annotations.coco.json").examples] == ["0"]
    (example,) = load(tmp_path / "train", "all").examples  # the folder of one split
    assert example.image_id == "0"


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (("train.json", "val.json"), ("train", "val")),
        (("train_annotations.json", "annotations_test.json"), ("train", "test")),
        (("instances_val2014.json", "instances_minival.json"), ("val2014", "minival")),
        (("result.json",), ("result",)),  # Label Studio
        (("annotations/instances_default.json",), ("default",)),  # CVAT
    ],
)
def test_json_files_of_other_tools(tmp_path, files, splits):
    for file in files:
        instances(tmp_path / file, [image(1, "images\\1.jpg" if file == "result.json" else None)])
    picture(tmp_path / "images" / "1.jpg")
    assert dataset_splits(DataSpec(data=f"coco:{tmp_path}")) == splits
    for split in splits:
        assert len(load(tmp_path, split).examples) == 1


def test_pictures_elsewhere(tmp_path):
    instances(tmp_path / "set.json", [image(1, "/home/somebody/pictures/1.jpg"), image(2, "../2.jpg")])
    picture(tmp_path / "root" / "1.jpg")
    picture(tmp_path / "root" / "2.jpg")
    picture(tmp_path / "2.jpg")  # a path must not lead out of the folder
    with pytest.raises(InputError, match=r"images\[0\], file_name: picture '/home/.*' not found in .*--images-root"):
        load(tmp_path / "set.json")
    data = load(tmp_path / "set.json", images_root=str(tmp_path / "root"))
    assert [one.image_path for one in data.examples] == [str(tmp_path / "root" / name) for name in ("1.jpg", "2.jpg")]


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ("coco", "train", "^--data coco: the path of the data set is missing; use coco:FOLDER"),
        ("coco:{0}/no", "train", "no: folder or file not found"),
        ("coco:{0}/empty", "train", "empty: holds no annotation files of COCO; use a folder with annotations/"),
        (
            "coco:{0}",
            "test",
            "split 'test': the data has no such split; use one of: train2014, train2017, val2017, all$",
        ),
        ("coco:{0}", "train", "several splits have this name: train2014, train2017; write the whole name"),
        ("coco:{0}", "val+val2017", "val2017 occurs twice; name it once"),
    ],
)
def test_bad_paths_and_splits(tmp_path, data, split, message):
    coco_layout(tmp_path)
    instances(tmp_path / "annotations" / "instances_train2014.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        load_dataset(DataSpec(data=data.format(tmp_path)), split)


# Categories.


def test_the_unused_group_of_roboflow_is_no_class(tmp_path):
    group = [{"id": 0, "name": "pets", "supercategory": "none"}]
    inside = [{"id": number, "name": name, "supercategory": "pets"} for number, name in ((1, "cat"), (2, "dog"))]
    data = one_file(tmp_path, annotation(category_id=1), categories=group + inside)
    assert data.class_names == ("cat", "dog") and list(data.problems) == [coco_json.ONLY_A_GROUP]
    used = one_file(tmp_path, annotation(category_id=0), categories=group + inside)
    assert used.class_names == ("pets", "cat", "dog")
    other = [
        *inside,
        {"id": 3, "name": "car", "supercategory": "none"},
    ]  # it does not group all: a class without objects
    assert one_file(tmp_path, annotation(category_id=1), categories=group + other).class_names[0] == "pets"
    assert one_file(tmp_path, categories=group).class_names == ("pets",)


def test_categories_of_one_name_are_one_class(tmp_path):
    twice = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    data = one_file(tmp_path, annotation(category_id=0), annotation(category_id=2), categories=twice)
    assert data.class_names == ("cat", "dog") and data.examples[0].classes.tolist() == [1, 1]
    assert list(data.problems) == [coco_json.SAME_NAME]


# Faults.


def test_annotations_without_a_picture_and_with_the_same_id_are_counted(tmp_path):
    data = one_file(tmp_path, annotation(id=5), annotation(id=5), annotation(image_id=8, id=6))
    assert len(data.examples[0].boxes) == 2
    assert {kind: len(files) for kind, files in data.problems.items()} == {coco_json.SAME_ID: 1, coco_json.UNLISTED: 1}
    with pytest.raises(InputError, match=r"set.json, annotations\[1\], id: annotation id occurs more than once"):
        load(tmp_path / "set.json", strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": None}, "annotations[1], bbox: missing field"),
        ({"bbox": [1, 2, 3]}, "annotations[1], bbox: expected four numbers (got [1, 2, 3])"),
        ({"bbox": [1, 2, 3, "4"]}, "annotations[1], bbox: expected a finite number (got '4')"),
        ({"bbox": [1, 2, float("nan"), 4]}, "annotations[1], bbox: expected a finite number (got nan)"),
        ({"bbox": [1, 2, 10**400, 4]}, "annotations[1], bbox: expected a finite number (got 1000"),
        ({"bbox": [1, 2, True, 4]}, "annotations[1], bbox: expected a finite number (got True)"),
        ({"area": "big"}, "annotations[1], area: expected a finite number (got 'big')"),
        ({"iscrowd": 2}, "annotations[1], iscrowd: expected 0 or 1 (got 2)"),
        ({"iscrowd": []}, "annotations[1], iscrowd: expected 0 or 1 (got [])"),
        ({"category_id": 4}, "annotations[1], category_id: 4 is not the id of a category"),
        ({"category_id": "cat"}, "annotations[1], category_id: expected a whole number (got 'cat')"),
        ({"image_id": 1.5}, "annotations[1], image_id: expected a whole number (got 1.5)"),
        ({"image_id": None}, "annotations[1], image_id: expected a whole number or a name (got None)"),
        ({"bbox": None, "segmentation": [[1, 2, 3]]}, "annotations[1], segmentation: expected polygons"),
        ({"bbox": None, "segmentation": {"counts": [1], "size": [2, 2]}}, "annotations[1], bbox: missing field"),
    ],
)
def test_a_bad_annotation_names_the_file_and_its_place(tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        one_file(tmp_path, annotation(), {**annotation(), **change})
    assert str(caught.value).startswith(f"{tmp_path / 'set.json'}, {message}")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([image(1), image(1, "2.jpg")], "images[1], id: images[0] has the same id 1; give each picture its own id"),
        ([image(1), image("1", "2.jpg")], "images[1], id: images[0] has the same id 1"),
        ([image("../1")], "images[0], id: expected a whole number or a name (got '../1')"),
        ([image(1, "")], None),
        ([image(1, width="60")], "images[0], width: expected a finite number"),
        ([{"id": 1}], "images[0], file_name: missing field"),
        (["1.jpg"], "images[0]: expected an object (got str)"),
        ([], "images: there are no pictures"),
    ],
)
def test_a_bad_picture_names_the_file_and_its_place(tmp_path, images, message):
    picture(tmp_path / "2.jpg")
    if message is None:
        images, message = [{**image(1), "file_name": " "}], "images[0], file_name: expected a name (got ' ')"
    with pytest.raises(InputError) as caught:
        one_file(tmp_path, images=images)
    assert str(caught.value).startswith(f"{tmp_path / 'set.json'}, {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "holds detections with scores"),
        ([1], "is not an instances file of COCO"),
        ([], "holds no annotations"),
        ({"images": [], "categories": []}, "holds no annotations"),
        ({"images": [], "annotations": []}, "is not an instances file of COCO"),
        ({"images": {}, "annotations": [], "categories": []}, "images: expected a list"),
    ],
)
def test_other_json_files_are_refused(tmp_path, value, message):
    (tmp_path / "set.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=f"^{tmp_path / 'set.json'}.*{message}"):
        load(tmp_path / "set.json")


def test_a_box_comes_from_polygons_only_where_it_is_missing(tmp_path):
    polygons = [[3, 4, 9, 4, 9, 12], [20, 30, 25, 30, 25, 35.5]]
    with_box = annotation(segmentation=polygons)
    without = {key: value for key, value in with_box.items() if key != "bbox"}
    boxes = one_file(tmp_path, with_box, without).examples[0].boxes
    np.testing.assert_array_equal(boxes, np.float32([[2, 1, 22, 11], [4, 3, 35.5, 25]]))


def test_polygons_take_no_memory(tmp_path):
    """The memory grows with the number of objects, not with their outlines."""
    count, outline = 2000, [[index / 7 for index in range(400)]]
    picture(tmp_path / "1.jpg")
    instances(tmp_path / "set.json", annotations=[annotation(segmentation=outline, id=id_) for id_ in range(count)])
    size = (tmp_path / "set.json").stat().st_size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_frcnn.data.sources.coco.json_stream._CHARACTERS", 1 << 16)
        tracemalloc.start()
        data = load(tmp_path / "set.json")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(data.examples[0].boxes) == count and size > 10_000_000 and most < size / 4
