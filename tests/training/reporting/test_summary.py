"""The summary table, and the results it is made of."""

import math

import numpy as np
import pytest

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.metrics.recall import proposal_recall
from keras_frcnn.evaluation.results.tables import recall_to_json
from training.reporting.summary import headlines, read_result, summary_table, training_table

TRAINING = {"iterations": 8, "images": 16, "minutes": 1.26}
AP = {"ap": {"mean_ap_11point": 0.5, "mean_ap_area": None}}


@pytest.fixture(scope="module")
def recall():
    """Four objects, of which the proposals cover three with IoU 1."""
    boxes = np.array([(0, 0, 10, 10), (0, 20, 10, 30), (0, 40, 10, 50), (0, 60, 10, 70)], np.float32)
    example = Example("a", "", 100, 100, boxes, np.ones(4, np.int32), np.zeros(4, bool))
    return {"recall": recall_to_json(proposal_recall([example], {"a": boxes[:3]}, ("cat",)))}


@pytest.fixture(scope="module")
def results(recall):
    measured = {"step 1": recall, "step 2": AP, "joint": recall | AP}
    return [
        {"name": "x", "title": title, "training": TRAINING, **values, "table": "text"}
        for title, values in measured.items()
    ]


def test_the_summary_has_a_row_for_each_training(results):
    header, line, *rows = summary_table(map(read_result, results)).splitlines()
    assert header.split() == [
        "training", "iterations", "images", "minutes", "recall@300", "mAP", "11-point", "mAP", "area"
    ]  # fmt: skip
    assert set(line) == {"-"}
    assert [row.split() for row in rows] == [
        ["step", "1", "8", "16", "1.3", "0.750"],
        ["step", "2", "8", "16", "1.3", "0.500", "-"],
        ["joint", "8", "16", "1.3", "0.750", "0.500", "-"],
    ]


def test_what_is_missing_and_what_was_not_measured_can_look_different(results):
    table = training_table(map(read_result, results), missing="nan", not_measured="none")
    assert [row[4:] for row in table.rows] == [
        ("0.750", "none", "none"), ("none", "0.500", "nan"), ("0.750", "0.500", "nan")
    ]  # fmt: skip


def test_a_result_is_read_from_json(results):
    first, second, _ = map(read_result, results)
    assert first[:5] == ("x", "step 1", 8, 16, 1.26) and first.table == "text" and first.ap is None
    assert first.headlines == {"recall@300": 0.75} and first.recall.objects == 4
    assert second.recall is None and second.headlines["mAP 11-point"] == 0.5


def test_headlines_have_only_what_was_measured(recall):
    assert headlines(recall) == {"recall@300": 0.75}
    assert list(headlines(AP)) == ["mAP 11-point", "mAP area"]
    assert math.isnan(headlines(AP)["mAP area"])
    assert headlines({}) == {}


def test_the_leading_metric_comes_first_after_the_recall(recall, results):
    assert list(headlines(recall | AP | {"metric": "voc"})) == ["recall@300", "mAP area", "mAP 11-point"]
    coco = {"name": "y", "title": "step 4", "training": TRAINING, "table": "text", "metric": "coco"}
    coco |= AP | {"coco": {"ap": 0.25}}
    assert headlines(coco) == pytest.approx({"COCO AP": 0.25, "mAP 11-point": 0.5, "mAP area": math.nan}, nan_ok=True)
    table = training_table([read_result(results[0]), read_result(coco)])
    assert table.header[4:] == ("recall@300", "COCO AP", "mAP 11-point", "mAP area")
    assert [row[4:] for row in table.rows] == [("0.750", "", "", ""), ("", "0.250", "0.500", "-")]
