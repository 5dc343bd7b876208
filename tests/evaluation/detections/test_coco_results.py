"""Detections as COCO results files: ids, digits, order, and what is refused."""

import json

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.coco_results import (
    COCOIds,
    annotation_ids,
    own_ids,
    read_coco_results,
    read_detections,
    write_coco_results,
)
from keras_frcnn.evaluation.detections.record import ImageDetections, voc_results_path, write_voc_results
from keras_frcnn.facts.errors import InputError

NAMES = ("cat", "potted plant", "dog")
IMAGES = ("000007", "2007_000027", "sub/a b", "12")
IDS = own_ids(IMAGES, NAMES)


def record(image_id, boxes, classes, scores):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return ImageDetections(image_id, boxes, np.asarray(classes, np.int32), np.asarray(scores, np.float32))


def random_records(images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 900, (len(images), 5, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.001, 500, corners.shape)], axis=2)
    return [
        record(image_id, box, rng.integers(1, 4, 5), rng.random(5)) for image_id, box in zip(images, boxes, strict=True)
    ]


def example(image_id, image_path=""):
    nothing = np.zeros(0)
    return Example(image_id, image_path, 9, 9, nothing.reshape(0, 4), nothing.astype(int), nothing.astype(bool))


def test_ids_of_digits_are_numbers_and_others_stay():
    assert IDS.images == {"000007": 7, "2007_000027": "2007_000027", "sub/a b": "sub/a b", "12": 12}
    assert IDS.categories == {1: 1, 2: 2, 3: 3}
    assert own_ids(("7", "007", "8"), NAMES).images == {"7": "7", "007": "007", "8": "8"}
    assert own_ids(("²", "-1", "1.5"), NAMES).images == {"²": "²", "-1": "-1", "1.5": "1.5"}


def test_the_file_is_a_cocos_results_list(tmp_path):
    path = tmp_path / "new" / "detections.json"
    write_coco_results(path, [record("000007", [(10, 20, 40, 80.5)], [3], [0.75])], NAMES, IDS)
    assert json.loads(path.read_text()) == [
        {"image_id": 7, "category_id": 3, "bbox": [20.0, 10.0, 60.5, 30.0], "score": 0.75}
    ]
    write_coco_results(path, [], NAMES, IDS)
    assert json.loads(path.read_text()) == []


def test_detections_come_back_with_all_digits(tmp_path):
    written = random_records()
    write_coco_results(tmp_path / "d.json", written, NAMES, IDS)
    read = read_detections(tmp_path / "d.json", NAMES, IDS)
    assert [entry.image_id for entry in read] == list(IMAGES)
    for entry, original in zip(read, written, strict=True):
        np.testing.assert_array_equal(entry.boxes.astype(np.float32), original.boxes)
        np.testing.assert_allclose(entry.boxes, original.boxes, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(entry.scores, original.scores)
        np.testing.assert_array_equal(entry.classes, original.classes)


def test_the_records_are_in_the_order_of_the_images_and_rows_keep_theirs(tmp_path):
    rows = [
        {"image_id": image, "category_id": 1, "bbox": [left, 0, 5, 5], "score": 0.5}
        for image, left in ((12, 1), (7, 2), (12, 3), (7, 4), (12, 0))
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    read = read_coco_results(tmp_path / "d.json", NAMES, IDS)
    assert {entry.image_id: entry.boxes[:, 1].tolist() for entry in read} == {
        "000007": [2, 4], "2007_000027": [], "sub/a b": [], "12": [1, 3, 0]
    }  # fmt: skip
    assert read[1].boxes.shape == (0, 4) and read[1].scores.shape == (0,)


def test_images_may_be_named_by_number_or_by_their_own_id(tmp_path):
    rows = [
        {"image_id": name, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5} for name in (7, "000007", 12, "12")
    ]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    read = read_coco_results(tmp_path / "d.json", NAMES, IDS)
    assert [len(entry.scores) for entry in read] == [2, 0, 0, 2]


@pytest.fixture
def annotations(tmp_path):
    """A COCO annotation file with gaps in the category ids, and ids of images that are not in their names."""
    path = tmp_path / "instances.json"
    values = {
        "images": [
            {"id": 139, "file_name": "000000000007.jpg"},
            {"id": 7, "file_name": "folder/b.jpg"},
            {"id": 285, "file_name": "x/same.jpg"},
            {"id": 632, "file_name": "y/same.jpg"},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 1, "name": "cat"}, {"id": 64, "name": "potted plant"}],
    }
    path.write_text(json.dumps(values))
    return path


def test_the_ids_of_an_annotation_file(annotations, tmp_path):
    examples = [
        example("000000000007", "/data/000000000007.jpg"),
        example("b", "/data/b.jpg"),
        example("632", "/data/y/same.jpg"),  # two files have this name: the id decides
    ]
    ids = annotation_ids(annotations, examples, NAMES)
    assert ids == COCOIds({"000000000007": 139, "b": 7, "632": 632}, {1: 1, 2: 64, 3: 90})
    written = random_records(("000000000007", "b", "632"))
    write_coco_results(tmp_path / "d.json", written, NAMES, ids)
    rows = json.loads((tmp_path / "d.json").read_text())
    assert {row["image_id"] for row in rows} == {139, 7, 632}
    assert {row["category_id"] for row in rows} <= {1, 64, 90}
    for entry, original in zip(read_detections(tmp_path / "d.json", NAMES, ids), written, strict=True):
        np.testing.assert_array_equal(entry.classes, original.classes)


def test_an_annotation_file_of_other_data_is_refused(annotations, tmp_path):
    with pytest.raises(InputError, match="instances.json: has no category 'hen'; use the annotation file of this"):
        annotation_ids(annotations, [], ("cat", "hen"))
    with pytest.raises(InputError, match="instances.json: has no image 'same', neither by the name of its file"):
        annotation_ids(annotations, [example("same", "/data/x/same.jpg")], NAMES)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="list.json: is not a COCO annotation file"):
        annotation_ids(tmp_path / "list.json", [], NAMES)
    with pytest.raises(InputError, match="gone.json: cannot be read"):
        annotation_ids(tmp_path / "gone.json", [], NAMES)


def test_the_categories_of_a_results_file_win(tmp_path):
    values = {
        "annotations": [{"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 19, "name": "unknown"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(values))
    first, *_ = read_coco_results(tmp_path / "d.json", NAMES, IDS)
    assert first.classes.tolist() == [3] and first.boxes.tolist() == [[2, 1, 6, 4]]
    (tmp_path / "d.json").write_text(json.dumps(values | {"categories": ["dog"]}))
    with pytest.raises(InputError, match="d.json, field categories: an entry has no id or no name"):
        read_coco_results(tmp_path / "d.json", NAMES, IDS)


GOOD = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 8}, "detection 2: image_id 8 is not in the evaluated split; use the detections of this split"),
        ({"image_id": [7]}, "detection 2: not a detection .TypeError"),
        (
            {"category_id": 4},
            "detection 2: category_id 4 is not the id of a class; use the ids 1, 2, 3, or give the annotation",
        ),
        ({"bbox": [1, 2, 3]}, "detection 2: not a detection .ValueError"),
        ({"bbox": None}, "detection 2: not a detection .TypeError"),
        ({"score": "high"}, "detection 2: not a detection .ValueError"),
        ({"score": float("nan")}, "detection 2: a number is not finite"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    (tmp_path / "d.json").write_text(json.dumps([GOOD, GOOD | change]))
    with pytest.raises(InputError, match=message):
        read_coco_results(tmp_path / "d.json", NAMES, IDS)
    without_score = {name: value for name, value in GOOD.items() if name != "score"}
    (tmp_path / "d.json").write_text(json.dumps([without_score]))
    with pytest.raises(InputError, match="detection 1: not a detection .KeyError: 'score'"):
        read_coco_results(tmp_path / "d.json", NAMES, IDS)


@pytest.mark.parametrize(
    ("text", "message"), [("[", "not JSON"), ("{}", "no list of detections"), ("3", "no list of detections")]
)
def test_a_file_without_detections_is_refused(tmp_path, text, message):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match=f"d.json: {message}"):
        read_detections(tmp_path / "d.json", NAMES, IDS)


def test_either_format_is_read(tmp_path):
    written = random_records(("000007", "2007_000027", "12"))
    write_voc_results(tmp_path / "voc", written, NAMES, split="val")
    write_coco_results(tmp_path / "d.JSON", written, NAMES, IDS)
    voc, coco = read_detections(tmp_path / "voc", NAMES, IDS), read_detections(tmp_path / "d.JSON", NAMES, IDS)
    assert [entry.image_id for entry in voc] == [entry.image_id for entry in coco] == list(IMAGES)
    for first, second in zip(voc, coco, strict=True):
        order = np.argsort(second.classes, kind="stable")  # VOC has one file for each class
        np.testing.assert_array_equal(first.classes, second.classes[order])
        np.testing.assert_array_equal(first.scores, second.scores[order])
        np.testing.assert_allclose(first.boxes, second.boxes[order], rtol=0, atol=1e-12)
    for path in (tmp_path / "gone", voc_results_path(tmp_path / "voc", "cat", "val")):
        with pytest.raises(InputError, match="neither a .json file nor a folder; give a COCO results file"):
            read_detections(path, NAMES, IDS)


def test_the_split_of_voc_files_is_found(tmp_path):
    names = ("cat", "big_cat")
    write_voc_results(tmp_path, [], names, split="val")  # comp4_det_val_big_cat.txt ends like a file of class cat
    ids = own_ids(("a",), names)
    assert [len(entry.scores) for entry in read_detections(tmp_path, names, ids)] == [0]
    write_voc_results(tmp_path, [], names, split="test")
    with pytest.raises(InputError, match="files of several splits: test, val; keep those of one split"):
        read_detections(tmp_path, names, ids)
    for name in names:
        voc_results_path(tmp_path, name, "test").unlink()
    voc_results_path(tmp_path, "big_cat", "val").unlink()
    with pytest.raises(InputError, match="no comp4_det_SPLIT_big_cat.txt; add one file per class"):
        read_detections(tmp_path, names, ids)


def test_detections_of_another_split_are_refused(tmp_path):
    write_voc_results(tmp_path, random_records(("000007", "x")), NAMES)
    with pytest.raises(InputError, match="image 'x': the image is not in the evaluated split"):
        read_detections(tmp_path, NAMES, IDS)
    with pytest.raises(InputError, match="not in 1..3"):
        write_coco_results(tmp_path / "d.json", [record("12", [(0, 0, 1, 1)], [4], [0.5])], NAMES, IDS)
