"""Plots as SVG: what they say, what they leave out, and that they are the same each time."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from keras_frcnn.evaluation.error_analysis.costs import ErrorCost
from keras_frcnn.evaluation.matching.matches import ClassMatches
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import ClassAP
from training.reporting.curves import Curve
from training.reporting.plots import CURVE_POINTS, curves_plot, error_cost_plot, precision_recall_plot, recall_plot

RECALLS = np.array([[0.5, 0.4], [1.0, 0.9]])
RECALL = RecallResult((50, 300), (0.5, 0.7), RECALLS, RECALLS.mean(axis=1), np.array([50.0, 300.0]), 10, 5, ())
NO_MATCHES = ClassMatches(np.zeros(0, int), np.zeros((1, 0), bool), np.zeros((1, 0), bool), np.zeros(0, int))
CLASS_AP = ClassAP(
    "a <b> name", 0.5, 0.5, 2, 3, np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 0.67]), np.arange(3.0), NO_MATCHES
)
COSTS = [ErrorCost("confusion", 3, 1, 0.75, 0.25, np.zeros(0)), ErrorCost("missed", 0, 2, 0.55, 0.05, np.zeros(0))]
PLOTS = {
    "costs": lambda: error_cost_plot(COSTS),
    "recall": lambda: recall_plot(RECALL),
    "precision": lambda: precision_recall_plot(CLASS_AP),
    "curves": lambda: curves_plot({"a": curve([1, 2, 3]), "b": curve([3, 2, 1])}),
}


def curve(values):
    return Curve(np.arange(len(values)), np.array(values, float), np.zeros(len(values)))


def text_of(svg):
    return " ".join("".join(ET.fromstring(svg).itertext()).split())


def lines_of(svg):
    """The points, (P, 2) as x and y from the top, of each line of data: the paths in one of the plot's colours."""
    paths = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
    lines = [path.get("d") for path in paths if "stroke: #" in path.get("style", "") and "1.4" in path.get("style")]
    return [np.array(re.findall(r"[ML] (\S+) (\S+)", line), float) for line in lines]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_has_the_same_bytes_each_time_and_needs_no_network(name):
    svg = PLOTS[name]()
    assert svg.startswith(b"<svg") and svg == PLOTS[name]()
    assert b"://" not in re.sub(rb"xmlns(:xlink)?=\"[^\"]*\"", b"", svg)


def test_the_recall_plot_has_a_line_for_each_column_of_the_table():
    svg = recall_plot(RECALL)
    assert "proposals per image" in text_of(svg) and "IoU 0.50 IoU 0.70 IoU 0.50:0.70" in text_of(svg)
    assert "50 300" in text_of(svg)
    heights = [line[:, 1] for line in lines_of(svg)[:3]]
    assert all(left > right for left, right in heights)  # y counts from the top: recall rises
    mean = (heights[0] + heights[1]) / 2
    np.testing.assert_allclose(heights[2], mean, atol=1e-3)


def test_the_precision_plot_does_not_name_the_class():
    svg = precision_recall_plot(CLASS_AP)
    assert "precision" in text_of(svg) and "recall" in text_of(svg) and "name" not in text_of(svg)


@pytest.mark.parametrize("changes", [{"objects": 0}, {"detections": 0}])
def test_no_precision_plot_without_objects_or_detections(changes):
    assert precision_recall_plot(CLASS_AP._replace(**changes)) is None


def test_curves_have_a_legend_if_there_are_several():
    assert "first second" in text_of(curves_plot({"first": curve([1, 2]), "second": curve([2, 1])}))
    alone = text_of(curves_plot({"first": curve([1, 2])}))
    assert "first" not in alone and "iteration" in alone


def test_a_high_curve_has_the_room_above_it_that_others_have():
    (high,), (steep,) = (lines_of(curves_plot({"": curve([first, 0.65])})) for first in (0.6, 0.0))
    assert high[:, 1].min() == pytest.approx(steep[:, 1].min(), abs=0.5)


def test_a_long_curve_is_drawn_from_means():
    """0, 1, 0, 1, ... has a mean of 0.5 everywhere: a straight line."""
    (line,) = lines_of(curves_plot({"": curve([0, 1] * 2 * CURVE_POINTS)}))
    assert len(line) <= 5 and np.ptp(line[:, 1]) == 0
    (line,) = lines_of(curves_plot({"": curve([0, 1] * 100)}))  # short enough to be drawn whole
    assert len(line) >= 200 and np.ptp(line[:, 1]) > 50


def test_the_bars_of_costs_are_named_and_numbered():
    text = text_of(error_cost_plot(COSTS))
    assert "confusion" in text and "missed" in text and "0.250" in text and "0.050" in text


def test_costs_without_objects_have_no_bars():
    nothing = ErrorCost("missed", 0, 0, np.nan, np.nan, np.zeros(0))
    assert "0.000" in text_of(error_cost_plot([nothing]))
