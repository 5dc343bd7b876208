"""The cost of each kind of error: hand-computed AP on tiny cases."""

import math

import numpy as np
import pytest

from keras_frcnn.evaluation.error_analysis.analysis import error_analysis

CAT, DOG = 1, 2
A, B, FAR = (0, 0, 10, 10), (0, 100, 10, 110), (500, 500, 510, 510)
A_THIRD, B_THIRD = (0, 5, 10, 15), (0, 105, 10, 115)  # IoU 1/3 with A and with B


@pytest.fixture
def costs(analyse):
    """(mAP, {kind: gain} without the gains of 0) of one image."""

    def costs(objects, found):
        analysis = analyse(objects, found)
        assert analysis.fixed_ap == 1
        for entry in analysis.costs:
            assert entry.mean_ap == pytest.approx(analysis.mean_ap + entry.cost)
        gains = {entry.kind: pytest.approx(entry.cost) for entry in analysis.costs if abs(entry.cost) > 1e-12}
        return pytest.approx(analysis.mean_ap), gains

    return costs


def test_localisation_gives_the_detection_the_box(costs):
    # One of two cats is found.  The fixed detection finds the other one.
    assert costs([(A, CAT), (B, CAT)], [(A, CAT, 0.9), (B_THIRD, CAT, 0.8)]) == (0.5, {"localisation": 0.5})


def test_localisation_removes_a_detection_of_a_found_object(costs):
    # Precision is 1/2 at recall 1, and 1 without the first detection.
    assert costs([(A, CAT)], [(A_THIRD, CAT, 0.9), (A, CAT, 0.8)]) == (0.5, {"localisation": 0.5})


def test_of_two_localisation_errors_at_one_object_the_lower_one_is_removed(costs):
    # Fixed: one right detection.  If both became right or wrong, AP would differ from 1.
    assert costs([(A, CAT)], [(A_THIRD, CAT, 0.9), (A_THIRD, CAT, 0.8)]) == (0, {"localisation": 1})


def test_confusion_gives_the_detection_the_class(costs):
    # Cats: AP 1.  The dog: 0, then 1.  The detection ranks below all cats, so that it does not lower their AP.
    assert costs([(A, CAT), (B, DOG)], [(A, CAT, 0.9), (B, CAT, 0.8)]) == (0.5, {"confusion": 0.5})


def test_confusion_gives_both_classes_something(costs):
    # Cats: 1/2, then 1, as the wrong detection ranks first.  Dogs: 0, then 1.
    assert costs([(A, CAT), (B, DOG)], [(A, CAT, 0.8), (B, CAT, 0.9)]) == (0.25, {"confusion": 0.75})


def test_a_corrected_class_keeps_its_rank(analyse):
    # Dogs: B is found at 0.9, then a wrong detection at 0.7, then the cat at 0.6 becomes a dog on A.
    analysis = analyse([(A, DOG), (B, DOG)], [(B, DOG, 0.9), (FAR, DOG, 0.7), (A, CAT, 0.6)])
    (confusion,) = (entry for entry in analysis.costs if entry.kind == "confusion")
    assert confusion.mean_ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_duplicates_are_removed(costs):
    # Precision 1 up to recall 1/2, then 2/3; all 1 without the duplicate.
    found = [(A, CAT, 0.9), (A, CAT, 0.8), (B, CAT, 0.7)]
    assert costs([(A, CAT), (B, CAT)], found) == (5 / 6, {"duplicate": 1 / 6})


def test_detections_on_the_background_are_removed(costs):
    found = [(A, CAT, 0.9), (FAR, CAT, 0.8), (B, CAT, 0.7)]
    assert costs([(A, CAT), (B, CAT)], found) == (5 / 6, {"background": 1 / 6})


def test_detections_with_box_and_class_wrong_are_removed(costs):
    # Cats: 1/2, then 1.  The dog is found in both cases, so the mean gains a quarter.
    found = [(B_THIRD, CAT, 0.9), (A, CAT, 0.8), (B, DOG, 0.7)]
    assert costs([(A, CAT), (B, DOG)], found) == (0.75, {"both": 0.25})


def test_missed_objects_leave_the_total(costs):
    # One of two cats is found, at precision 1/2: 1/4.  Of one cat: 1/2.  Without the wrong detection: 1/2.
    found = [(FAR, CAT, 0.9), (A, CAT, 0.8)]
    assert costs([(A, CAT), (B, CAT)], found) == (0.25, {"background": 0.25, "missed": 0.25})


def test_a_class_whose_objects_are_all_missed(costs):
    assert costs([(A, CAT)], []) == (0, {"missed": 1})
    # While wrong detections remain, nothing is right; and removing them finds nothing.
    assert costs([(A, CAT)], [(FAR, CAT, 0.9)]) == (0, {})


def test_costs_of_classes(analyse):
    analysis = analyse([(A, CAT), (B, DOG)], [(A, CAT, 0.8), (B, CAT, 0.9)])
    by_kind = {entry.kind: entry.class_costs.tolist() for entry in analysis.costs}
    assert by_kind["confusion"] == [0.5, 1] and by_kind["missed"] == [0, 0]
    assert [entry.false_positives for entry in analysis.costs] == [0, 1, 0, 0, 0, 0]
    assert [entry.misses for entry in analysis.costs] == [0, 1, 0, 0, 0, 0]


def test_a_class_without_objects_is_left_out(analyse):
    analysis = analyse([(A, CAT)], [(A, CAT, 0.9), (FAR, DOG, 0.9)])
    assert analysis.mean_ap == 1 and analysis.fixed_ap == 1
    assert all(np.isnan(entry.class_costs[1]) and entry.cost == 0 for entry in analysis.costs)


def test_difficult_objects_change_nothing(costs):
    found = [(B, CAT, 0.95), (B_THIRD, CAT, 0.9), (A, CAT, 0.8)]
    assert costs([(A, CAT), (B, CAT, True)], found) == (0.5, {"localisation": 0.5})


@pytest.mark.parametrize("found", [[], [(FAR, CAT, 0.9)]])
def test_without_objects_there_is_no_ap(analyse, found):
    analysis = analyse([], found)
    assert math.isnan(analysis.mean_ap) and math.isnan(analysis.fixed_ap)
    assert all(math.isnan(entry.cost) for entry in analysis.costs)
    assert sum(entry.false_positives for entry in analysis.costs) == len(found)


def test_without_images_all_counts_are_zero():
    analysis = error_analysis([], [], ("cat",), {})
    assert math.isnan(analysis.mean_ap) and analysis.images == 0
    assert not any(entry.false_positives or entry.misses for entry in analysis.costs)
    assert analysis.confusion.tolist() == [[0, 0], [0, 0]]
