"""The error analysis as text and as JSON."""

import json
import math

import pytest

from keras_frcnn.evaluation.error_analysis.tables import (
    best_f1_table,
    class_cost_table,
    confusion_table,
    cost_table,
    errors_to_json,
    format_error_analysis,
    miss_table,
)

CAT, DOG = 1, 2
A, B, FAR = (0, 0, 10, 10), (0, 100, 50, 150), (500, 500, 600, 600)


@pytest.fixture
def analysis(analyse):
    """One cat found, one dog reported as a cat, one large dog without proposal, and a detection on the background."""
    found = [(A, CAT, 0.9), (B, CAT, 0.8), ((800, 800, 810, 810), DOG, 0.7)]
    return analyse([(A, CAT), (B, DOG), (FAR, DOG)], found, [A, B], score_threshold=0.5)


def test_the_table_of_costs(analysis):
    table = cost_table(analysis)
    assert table.header == ("error", "false positives", "misses", "mAP if fixed", "gain")
    # Cats: 1.  Dogs: 0.  With the confusion fixed: a dog at 0.8 before the wrong one at 0.7, 1/2 of two dogs.
    # Without the missed dog, no dog is found, but one is confused, so that AP stays 0.
    assert table.rows == (
        ("localisation", "0", "0", "0.500", "0.000"),
        ("confusion", "1", "1", "0.750", "0.250"),
        ("both", "0", "0", "0.500", "0.000"),
        ("duplicate", "0", "0", "0.500", "0.000"),
        ("background", "1", "0", "0.500", "0.000"),
        ("missed", "0", "1", "0.500", "0.000"),
    )
    assert table.footer == (("all errors", "2", "2", "1.000", "0.500"),)


def test_the_gains_of_classes(analysis):
    table = class_cost_table(analysis)
    assert table.header == ("gain of AP", "localisation", "confusion", "both", "duplicate", "background", "missed")
    assert table.rows[1] == ("dog", "0.000", "0.500", "0.000", "0.000", "0.000", "0.000")


def test_the_table_of_misses(analysis):
    table = miss_table(analysis)
    assert table.header == ("cause of misses", "small", "medium", "large", "all")
    assert table.rows == (("no proposal", "0", "0", "1", "1"), ("suppressed", "0", "1", "0", "1"))
    assert table.footer == (("all misses", "0", "1", "1", "2"), ("objects", "1", "1", "1", "3"))


def test_the_confusion_table(analysis):
    table = confusion_table(analysis)
    assert table.header == ("true class", "cat", "dog", "missed")
    assert table.rows == (("cat", "1", "0", "0"), ("dog", "1", "0", "1"))
    assert table.footer == (("background", "0", "1", ""),)


def test_the_table_of_thresholds(analysis):
    table = best_f1_table(analysis, missing="?")
    assert table.rows == (("cat", "0.900", "1.000", "1.000", "1.000"), ("dog", "?", "0.000", "?", "?"))
    assert table.footer == (("all classes", "0.900", "0.500", "1.000", "0.333"),)


def test_the_text_has_the_three_narrow_tables(analysis):
    text = format_error_analysis(analysis)
    assert text.count("\n---") == 6 and text.endswith("\n")
    assert "Errors after TIDE, IoU 0.5 and 0.1; mAP (area) is 0.500." in text
    assert "true class" not in text


def test_json_has_the_same_numbers(analysis):
    values = json.loads(json.dumps(errors_to_json(analysis), allow_nan=False))
    assert values["thresholds"] == {"foreground": 0.5, "background": 0.1, "suppression": 0.3}
    assert (values["mean_ap_area"], values["mean_ap_area_all_fixed"]) == (0.5, 1)
    assert values["costs"]["confusion"] == {
        "false_positives": 1, "misses": 1, "mean_ap_area_if_fixed": 0.75, "gain": 0.25,
        "gain_of_classes": {"cat": 0, "dog": 0.5}}  # fmt: skip
    assert values["misses"]["no proposal"] == {"small": 0, "medium": 0, "large": 1}
    assert values["misses"]["unknown"] == {"small": 0, "medium": 0, "large": 0}
    assert values["confusion_matrix"] == {
        "score_threshold": 0.5, "true_classes": ["cat", "dog", "background"],
        "detected_classes": ["cat", "dog", "missed"], "counts": [[1, 0, 0], [1, 0, 1], [0, 1, 0]]}  # fmt: skip
    assert values["best_f1"]["classes"]["dog"] == {"threshold": None, "f1": 0, "precision": None, "recall": None}
    assert values["best_f1"]["all_classes"]["f1"] == 0.5


def test_without_objects_numbers_are_missing(analyse):
    analysis = analyse()
    assert math.isnan(analysis.mean_ap)
    assert cost_table(analysis, missing="?").footer == (("all errors", "0", "0", "?", "?"),)
    assert miss_table(analysis).rows == ()
    assert format_error_analysis(analysis)
    assert errors_to_json(analysis)["mean_ap_area"] is None
    json.dumps(errors_to_json(analysis), allow_nan=False)
