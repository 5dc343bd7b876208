"""The confusion matrix and the thresholds of best F1: hand-computed cases."""

import math

import numpy as np
import pytest

CAT, DOG = 1, 2
A, B, FAR = (0, 0, 10, 10), (0, 100, 10, 110), (500, 500, 510, 510)
A_THIRD = (0, 5, 10, 15)  # IoU 1/3 with A


def test_each_cell_of_the_matrix(analyse):
    objects = [(A, CAT), (B, DOG), (FAR, CAT)]
    found = [
        (A, CAT, 0.9),  # right
        (A, CAT, 0.8),  # a duplicate: background
        (B, CAT, 0.7),  # the dog as a cat
        (B, CAT, 0.6),  # the dog is counted already: background
        ((700, 700, 710, 710), DOG, 0.5),  # background; the score equals the threshold
        (FAR, CAT, 0.4),  # below the threshold, so this cat is missed
    ]
    # Rows: background, cat, dog.  Columns: missed, cat, dog.
    assert analyse(objects, found, score_threshold=0.5).confusion.tolist() == [[0, 2, 1], [1, 1, 0], [0, 1, 0]]
    assert analyse(objects, found, score_threshold=0.4).confusion.tolist() == [[0, 2, 1], [0, 2, 0], [0, 1, 0]]
    assert analyse(objects, found, score_threshold=0.95).confusion.tolist() == [[0, 0, 0], [2, 0, 0], [1, 0, 0]]


def test_a_right_detection_counts_before_a_confusion_with_a_higher_score(analyse):
    analysis = analyse([(A, CAT)], [(A, DOG, 0.9), (A, CAT, 0.8)])
    assert analysis.confusion.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    high = analyse([(A, CAT)], [(A, DOG, 0.9), (A, CAT, 0.8)], score_threshold=0.85)
    assert high.confusion.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_badly_placed_detection_misses_its_object(analyse):
    assert analyse([(A, CAT)], [(A_THIRD, CAT, 0.9)]).confusion.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_the_threshold_is_that_of_the_best_f1_of_all_classes(analyse):
    found = [(A, CAT, 0.3), (B, DOG, 0.2), (FAR, DOG, 0.1)]
    analysis = analyse([(A, CAT), (B, DOG)], found)
    assert analysis.score_threshold == 0.2
    assert analysis.confusion.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert analyse([(A, CAT)], [(FAR, CAT, 0.9)]).score_threshold == 0.5  # no threshold gives an F1 above 0


def test_difficult_objects_are_in_no_cell(analyse):
    analysis = analyse([(A, CAT, True), (B, DOG, True)], [(A, CAT, 0.9), (B, CAT, 0.8)])
    assert analysis.confusion.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def best(analysis):
    """(threshold, F1, precision, recall) of the cats."""
    return analysis.best_f1[0][1:]


def test_the_threshold_of_the_best_f1(analyse):
    # F1 after each detection: 2/3, 2/4, 4/5, 4/6.
    found = [(A, CAT, 0.9), (FAR, CAT, 0.8), (B, CAT, 0.7), (FAR, CAT, 0.6)]
    assert best(analyse([(A, CAT), (B, CAT)], found)) == pytest.approx((0.7, 0.8, 2 / 3, 1))


def test_a_threshold_does_not_split_detections_of_equal_score(analyse):
    # The right one of two at 0.8 cannot be kept alone: F1 is 2/3 with both of them, and 0 without.
    assert best(analyse([(A, CAT)], [(A, CAT, 0.8), (FAR, CAT, 0.8)])) == pytest.approx((0.8, 2 / 3, 0.5, 1))


def test_of_equal_f1_the_highest_threshold_is_given(analyse):
    # F1: 2/4, 2/5, 4/6, 4/7, 4/8, 6/9: the third and the last are equal.
    objects = [(A, CAT), (B, CAT), (FAR, CAT)]
    nothing = (800, 0, 810, 10)
    boxes = [A, nothing, B, nothing, nothing, FAR]
    scores = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    found = [(box, CAT, score) for box, score in zip(boxes, scores, strict=True)]
    assert best(analyse(objects, found))[:2] == pytest.approx((0.7, 2 / 3))


def test_detections_on_difficult_objects_do_not_count_in_f1(analyse):
    found = [(B, CAT, 0.9), (A, CAT, 0.8)]
    assert best(analyse([(A, CAT), (B, CAT, True)], found)) == pytest.approx((0.8, 1, 1, 1))


def test_one_threshold_for_all_classes(analyse):
    found = [(A, CAT, 0.9), (B, DOG, 0.6), (FAR, DOG, 0.5)]
    last = analyse([(A, CAT), (B, DOG)], found).best_f1[-1]
    assert last == ("all classes", *map(pytest.approx, (0.6, 1, 1, 1)))


@pytest.mark.parametrize(
    ("objects", "found", "f1"),
    [([], [], math.nan), ([], [(A, CAT, 0.9)], math.nan), ([(A, CAT)], [], 0), ([(A, CAT)], [(FAR, CAT, 0.9)], 0)],
)
def test_without_a_right_detection_there_is_no_threshold(analyse, objects, found, f1):
    np.testing.assert_array_equal(best(analyse(objects, found)), (math.nan, f1, math.nan, math.nan))
