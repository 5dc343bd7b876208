"""A result's forms: COCO rows, a JSON line and a drawing."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_frcnn.api.drawing import draw_detections
from keras_frcnn.api.result import Result
from keras_frcnn.facts.errors import InputError

NAMES = ("cat", "dog", "hen")
BOXES = [[10.0, 20.0, 40.0, 80.5], [0.0, 0.0, 30.0, 15.25]]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture
def result(pixels):
    return Result(
        boxes=np.float32(BOXES), scores=np.float32([0.75, 0.5]), class_ids=np.int32([3, 1]), class_names=NAMES,
        height=60, width=90, _pixels=pixels,
    )  # fmt: skip


@pytest.fixture
def empty():
    return Result(
        boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), class_ids=np.zeros(0, np.int32),
        class_names=NAMES, height=0, width=0, source="gone.jpg", error="gone.jpg: no such file; give another",
    )  # fmt: skip


def test_length_and_names(result, empty):
    assert len(result) == 2 and result.names == ("hen", "cat")
    assert len(empty) == 0 and empty.names == () and bool(empty)
    assert repr(result) == "Result(image, 60 x 90: 1 hen, 1 cat)"
    assert repr(empty) == "Result(error: gone.jpg: no such file; give another)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.height = 3


def test_coco_rows_are_x_y_width_height(result, empty):
    assert result.to_coco(image_id=7) == [
        {"image_id": 7, "category_id": 3, "bbox": [20.0, 10.0, 60.5, 30.0], "score": 0.75},
        {"image_id": 7, "category_id": 1, "bbox": [0.0, 0.0, 15.25, 30.0], "score": 0.5},
    ]
    assert json.loads(json.dumps(result.to_coco(7))) == result.to_coco(7)  # no NumPy numbers
    assert empty.to_coco(7) == []


def test_pycocotools_takes_the_rows_as_results(result):
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 7, "height": 60, "width": 90}],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)],
        # The hen is found exactly; the cat's box has half of the annotated area, an IoU of 0.5.
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [20.0, 10.0, 60.5, 30.0], "area": 1815.0, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0.0, 0.0, 30.5, 30.0], "area": 915.0, "iscrowd": 0},
        ],
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(result.to_coco(7)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    mean, at_half, at_three_quarters = evaluation.stats[:3]
    # The cat counts at the threshold 0.5 alone, one of ten.
    np.testing.assert_allclose([mean, at_half, at_three_quarters], [(1.0 + 0.1) / 2, 1.0, 0.5], atol=1e-6)


def test_the_json_line(result, empty):
    assert json.loads(result.to_json()) == {
        "image": None, "height": 60, "width": 90,
        "detections": [
            {"class": "hen", "score": 0.75, "box": [10.0, 20.0, 40.0, 80.5]},
            {"class": "cat", "score": 0.5, "box": [0.0, 0.0, 30.0, 15.25]},
        ],
    }  # fmt: skip
    assert "\n" not in result.to_json()
    assert json.loads(empty.to_json()) == {
        "image": "gone.jpg", "height": 0, "width": 0, "detections": [], "error": "gone.jpg: no such file; give another",
    }  # fmt: skip


def test_json_rounds_scores_to_4_digits_and_boxes_to_2():
    rounded = Result(np.float32([[0.126, 1, 2, 3]]), np.float32([0.123456]), np.int32([1]), NAMES, 4, 4).to_dict()
    assert rounded["detections"] == [{"class": "cat", "score": 0.1235, "box": [0.13, 1.0, 2.0, 3.0]}]


def test_the_drawing_of_pixels_and_of_a_file_is_that_of_draw_detections(result, pixels, tmp_path):
    expected = draw_detections(pixels, BOXES, [3, 1], [0.75, 0.5], NAMES)
    drawn = result.draw()
    assert drawn.mode == "RGB"
    np.testing.assert_array_equal(drawn, expected)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    from_file = dataclasses.replace(result, source=str(path), _pixels=None)
    np.testing.assert_array_equal(from_file.draw(), expected)

    Image.new("RGB", (30, 20)).save(path)
    with pytest.raises(InputError, match=f"{path}: the picture is now 20 x 30, not 60 x 90"):
        from_file.draw()
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: no such file"):
        from_file.draw()


def test_there_is_nothing_to_draw_on_without_a_picture(result, empty):
    with pytest.raises(InputError, match="gone.jpg: no such file"):
        empty.draw()
    with pytest.raises(InputError, match="neither pixels nor a path"):
        dataclasses.replace(result, _pixels=None).draw()
