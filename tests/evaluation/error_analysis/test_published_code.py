"""The labels and costs agree with the code that TIDE's authors published, on the detections of a real detector."""

import pytest

from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc

# tidecv 1.0.1 on the same detections and objects, with max_dets above their number: counts, and costs in points of mAP.
COUNTS = {
    "localisation": 48263,
    "confusion": 5838,
    "both": 35136,
    "duplicate": 3484,
    "background": 152277,
    "missed": 331,
}
POINTS = {
    "localisation": 10.720,
    "confusion": 3.393,
    "both": 1.489,
    "duplicate": 0.514,
    "background": 3.328,
    "missed": 1.448,
}
# The published code lets a detection fall back to its second best object, which VOC does not.
FALL_BACK = {"duplicate": 2}


@pytest.fixture(scope="module")
def easy(published):
    """The examples without difficult objects, which the published code handles by rules of its own."""
    examples = []
    for example in published.examples:
        kept = {field: getattr(example, field)[~example.difficult] for field in ("boxes", "classes", "difficult")}
        examples.append(example._replace(**kept))
    return examples


def test_labels_and_costs_are_those_of_the_published_code(published, easy):
    analysis = error_analysis(easy, published.detections, published.class_names)
    misses = analysis.errors.misses.kinds.tolist()
    for entry in analysis.costs:
        count = misses.count("missed") if entry.kind == "missed" else entry.false_positives
        assert count - COUNTS[entry.kind] == FALL_BACK.get(entry.kind, 0), entry.kind
        # Their AP is the mean of 101 points of the curve, ours is the area below it.
        assert 100 * entry.cost == pytest.approx(POINTS[entry.kind], abs=0.11), entry.kind


def test_the_parts_add_up_on_real_detections(published):
    analysis = error_analysis(published.examples, published.detections, published.class_names)
    voc = evaluate_voc(published.examples, published.detections, published.class_names)
    assert analysis.mean_ap == pytest.approx(voc.mean_area, rel=1e-12)
    assert analysis.fixed_ap == pytest.approx(1, rel=1e-12)
    found = sum(round(entry.recall[-1] * entry.objects) for entry in voc.classes)
    assert sum(entry.misses for entry in analysis.costs) == 12032 - found
