"""All figures of one set of detections: which metric leads, tables and JSON."""

import json

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.coco_ap import Figures
from keras_frcnn.evaluation.metrics.names import METRICS, TITLES
from keras_frcnn.evaluation.metrics.recall import proposal_recall
from keras_frcnn.evaluation.results.measurement import measure
from keras_frcnn.evaluation.results.measurement_tables import (
    COCO_ROWS,
    coco_table,
    format_measurement,
    main_figures,
    main_table,
    measurement_to_json,
)
from keras_frcnn.evaluation.results.tables import format_table

BOXES = np.array([(0, 0, 50, 50), (0, 100, 50, 150)], np.float32)
FOUND = np.array([(0, 0, 50, 50), (200, 0, 250, 50)], np.float32)  # one of the two objects, and a stray box


def made(metric="voc07", resamples=20, with_recall=True, empty=False):
    examples = [
        Example(str(place), "", 300, 300, BOXES, np.array([1, 1], np.int32), np.zeros(2, bool)) for place in range(4)
    ]
    if empty:
        nothing = BOXES[:0]
        examples = [
            one._replace(boxes=nothing, classes=np.zeros(0, np.int32), difficult=np.zeros(0, bool)) for one in examples
        ]
    dataset = Dataset("made", ("cat", "dog"), tuple(examples), {})
    records = [ImageDetections(one.image_id, FOUND, np.array([1, 1]), np.array([0.9, 0.5])) for one in examples]
    recall = proposal_recall(examples, {one.image_id: FOUND for one in examples}, dataset.class_names)
    return measure(dataset, records, recall if with_recall else None, metric, resamples=resamples)


@pytest.mark.parametrize("metric", METRICS)
def test_the_chosen_metric_comes_first(metric):
    measurement = made(metric)
    figures = main_figures(measurement)
    assert [one.title for one in figures][0] == TITLES[metric]
    assert {one.title: pytest.approx(one.value) for one in figures} == {
        TITLES["voc07"]: 6 / 11, TITLES["voc"]: 0.5, TITLES["coco"]: 51 / 101, "recall of 300 proposals, IoU 0.50": 0.5
    }  # fmt: skip
    lines = format_measurement(measurement).splitlines()
    assert lines[2].startswith(TITLES[metric])
    tables = [line.split()[0] for line in lines if line.endswith("detections") or line.startswith("COCO  ")]
    assert tables == (["COCO", "class", "class"] if metric == "coco" else ["class", "COCO", "class"])
    values = json.loads(json.dumps(measurement_to_json(measurement), allow_nan=False))
    assert list(values)[:2] == ["metric", "leading"] and values["metric"] == metric
    assert list(values)[2:] == [*(("coco", "ap") if metric == "coco" else ("ap", "coco")), "recall", "intervals"]
    assert values["leading"]["title"] == TITLES[metric] and values["leading"]["value"] == figures[0].value


def test_the_table_of_the_main_figures():
    """All images are alike, so every bootstrap sample has the figures of the split."""
    assert format_table(main_table(made("voc"))) == (
        "figure                             value    95% interval\n"
        "--------------------------------------------------------\n"
        "VOC mean AP, area                  0.500  0.500 to 0.500\n"
        "VOC mean AP, 11-point              0.545  0.545 to 0.545\n"
        "COCO AP                            0.505  0.505 to 0.505\n"
        "recall of 300 proposals, IoU 0.50  0.500  0.500 to 0.500\n"
        "--------------------------------------------------------\n"
        "VOC AP, area: cat                  0.500  0.500 to 0.500\n"
        "VOC AP, area: dog                      -               -"
    )


def test_the_twelve_have_a_row_each():
    assert tuple(COCO_ROWS) == Figures._fields
    result = made(resamples=0).coco
    rows = {row[0]: row[1:] for row in coco_table(result).rows}
    assert rows["AP medium"] == ("0.50:0.95", "medium", "100", "0.505", "-")
    assert rows["AR1"] == ("0.50:0.95", "all", "1", "0.500", "-") and rows["AP small"][3:] == ("-", "-")


def test_the_json_has_every_figure_and_interval():
    values = json.loads(json.dumps(measurement_to_json(made("coco")), allow_nan=False))
    assert values["leading"] == {
        "title": "COCO AP",
        "value": values["coco"]["ap"],
        "interval": values["intervals"]["coco"]["means"]["ap"],
    }
    assert values["coco"]["ap"] == pytest.approx(51 / 101) and values["coco"]["ap_small"] is None
    assert values["coco"]["classes"]["cat"]["ar100"] == 0.5 and values["coco"]["classes"]["cat"]["objects"] == 8
    assert values["coco"]["classes"]["dog"]["ap"] is None and values["coco"]["classes"]["cat"]["detections"] == 8
    found = values["intervals"]
    assert (found["level"], found["resamples"], found["seed"]) == (0.95, 20, 0)
    assert set(found["coco"]["means"]) == set(Figures._fields) and found["coco"]["means"]["ap_small"] == [None, None]
    assert found["ap"]["classes"]["cat"]["ap_11point"] == pytest.approx([6 / 11, 6 / 11])
    assert found["ap"]["means"]["ap_area"] == [0.5, 0.5]
    assert [entry["count"] for entry in found["recall"]] == [50, 100, 300, 1000, 2000]
    assert found["recall"][2]["recall"]["0.50"] == [0.5, 0.5]


def test_without_intervals_and_without_proposals():
    measurement = made(resamples=0, with_recall=False)
    values = measurement_to_json(measurement)
    assert "intervals" not in values and "recall" not in values and values["leading"]["interval"] is None
    text = format_measurement(measurement)
    assert "proposals" not in text and "Intervals" not in text and " to " not in text
    assert measurement_to_json(made(with_recall=False))["intervals"].get("recall") is None


@pytest.mark.filterwarnings("error")
def test_nothing_measured_is_a_dash_and_null():
    measurement = made(empty=True)
    assert all(row[1:] == ("-", "-") for row in main_table(measurement).rows)
    values = json.loads(json.dumps(measurement_to_json(measurement), allow_nan=False))
    assert values["leading"]["value"] is None and values["leading"]["interval"] == [None, None]
    assert "No objects, left out of the mean: cat, dog." in format_measurement(measurement)
