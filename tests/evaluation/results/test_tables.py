"""Tables and JSON of the evaluation results."""

import json

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.recall import proposal_recall
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.evaluation.results.tables import (
    ap_to_json,
    format_ap_table,
    format_recall_table,
    recall_columns,
    recall_from_json,
    recall_table,
    recall_to_json,
)

CLASS_NAMES = ("motorbike", "cow")
BOXES = np.array([(0, 0, 10, 10), (0, 100, 10, 110)], np.float32)
EXAMPLES = [Example("a", "", 200, 200, BOXES, np.array([1, 1], np.int32), np.array([False, False]))]
EMPTY = [EXAMPLES[0]._replace(boxes=BOXES[:0], classes=np.zeros(0, np.int32), difficult=np.zeros(0, bool))]
DETECTIONS = [ImageDetections("a", BOXES[:1], np.array([1]), np.array([0.9]))]


def ap_result(examples=EXAMPLES):
    return evaluate_voc(examples, DETECTIONS, CLASS_NAMES)


def test_ap_table():
    assert format_ap_table(ap_result()) == (
        "class      AP 11-point  AP area  objects  detections\n"
        "----------------------------------------------------\n"
        "motorbike        0.545    0.500        2           1\n"
        "cow                  -        -        0           0\n"
        "----------------------------------------------------\n"
        "mean             0.545    0.500        2           1\n"
        "PASCAL VOC, IoU > 0.5, 1 images; difficult objects not counted.\n"
        "No objects, left out of the mean: cow.\n"
    )


def test_recall_table():
    result = proposal_recall(EXAMPLES, {"a": np.array([(0, 0, 10, 7)])}, CLASS_NAMES, counts=(50, 1000))
    assert format_recall_table(result) == (
        "proposals  per image  IoU 0.50  IoU 0.70  IoU 0.50:0.95\n"
        "-------------------------------------------------------\n"
        "50               1.0     0.500     0.500          0.250\n"
        "1000             1.0     0.500     0.500          0.250\n"
        "Recall of 2 objects in 1 images; difficult objects not counted.\n"
        "\n"
        "class, IoU 0.50  objects  by 50  by 1000\n"
        "----------------------------------------\n"
        "motorbike              2  0.500    0.500\n"
        "cow                    0      -        -\n"
    )


def test_ap_json_is_plain():
    values = json.loads(json.dumps(ap_to_json(ap_result()), allow_nan=False))
    assert values["mean_ap_area"] == 0.5 and values["images"] == 1 and values["iou_threshold"] == 0.5
    assert values["classes"]["cow"] == {"ap_11point": None, "ap_area": None, "objects": 0, "detections": 0}
    assert values["classes"]["motorbike"]["ap_11point"] == ap_result().mean_11point
    assert values["classes_without_objects"] == ["cow"]


def test_recall_json_is_plain():
    result = proposal_recall(EXAMPLES, {"a": np.array([(0, 0, 10, 7)])}, CLASS_NAMES, counts=(50,))
    values = json.loads(json.dumps(recall_to_json(result), allow_nan=False))
    assert values["objects"] == 2
    (entry,) = values["proposals"]
    assert (entry["count"], entry["mean_proposals"], entry["average_recall"]) == (50, 1.0, 0.25)
    assert entry["recall"]["0.70"] == 0.5 and entry["recall"]["0.75"] == 0.0 and len(entry["recall"]) == 10
    motorbike, cow = values["classes"]["motorbike"], values["classes"]["cow"]
    assert motorbike == {"objects": 2, "proposals": [{"count": 50, "recall": entry["recall"]}]}
    assert cow["objects"] == 0 and set(cow["proposals"][0]["recall"].values()) == {None}


def test_the_recall_table_and_its_columns_have_the_same_names_and_numbers():
    result = proposal_recall(EXAMPLES, {"a": np.array([(0, 0, 10, 7)])}, CLASS_NAMES, counts=(50, 1000))
    columns = recall_columns(result)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "IoU 0.50": [0.5, 0.5], "IoU 0.70": [0.5, 0.5], "IoU 0.50:0.95": [0.25, 0.25]
    }  # fmt: skip
    table = recall_table(result)
    assert table.header[2:] == tuple(columns)
    assert [row[2:] for row in table.rows] == [("0.500", "0.500", "0.250")] * 2


@pytest.mark.parametrize("examples", [EXAMPLES, EMPTY])
def test_recall_comes_back_from_json(examples):
    """With objects and, where every recall is NaN, without."""
    proposals = {"a": np.array([(0, 0, 10, 7), (0, 101, 10, 110)])}
    result = proposal_recall(examples, proposals, CLASS_NAMES, counts=(1, 50))
    restored = recall_from_json(json.loads(json.dumps(recall_to_json(result), allow_nan=False)))
    assert format_recall_table(restored) == format_recall_table(result)
    for name, expected in result._asdict().items():
        if name not in ("classes", "reached", "objects_by_image"):
            np.testing.assert_array_equal(getattr(restored, name), expected, err_msg=name)
    assert restored.reached is None and restored.objects_by_image is None  # not in the file
    for entry, expected in zip(restored.classes, result.classes, strict=True):
        assert (entry.class_name, entry.objects) == (expected.class_name, expected.objects)
        np.testing.assert_array_equal(entry.recalls, expected.recalls)


def test_nothing_measured_is_a_dash_and_null():
    recall = proposal_recall(EMPTY, {"a": BOXES}, CLASS_NAMES)
    assert format_recall_table(recall).splitlines()[2].split() == ["50", "2.0", "-", "-", "-"]
    assert recall_to_json(recall)["proposals"][0]["average_recall"] is None
    assert "mean" in format_ap_table(ap_result(EMPTY))
    assert ap_to_json(ap_result(EMPTY))["mean_ap_11point"] is None
