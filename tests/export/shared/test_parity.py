"""The comparison: matching by hand, what is forgiven and what never is."""

import numpy as np
import pytest

from export.shared.parity import Parity, ParityError, PictureDetections, Tolerance, check, compare, format_parity
from keras_frcnn.facts.config import TestConfig

STRICT = Tolerance(box=1e-3, score=1e-2)
TEST = TestConfig(score_threshold=0.05, max_detections=10)
LEFT, RIGHT = (0.1, 0.0, 0.5, 0.4), (0.1, 0.6, 0.5, 1.0)


def found(*rows):
    """Detections of one picture from (box, class, score)."""
    boxes, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return PictureDetections(np.reshape(np.float32(boxes), (-1, 4)), np.float32(classes), np.float32(scores))


BOTH = found((LEFT, 1, 0.9), (RIGHT, 2, 0.8))


def difference(ours, theirs, tolerance=STRICT, test=TEST):
    return compare([ours], [theirs], tolerance, test)


def test_a_model_is_at_no_distance_from_itself():
    assert difference(BOTH, BOTH) == Parity(1, 2, 2, 0, 0, 0.0, 0.0)


def test_differences_by_hand():
    moved = found(((0.1, 0.6, 0.5, 0.98), 2, 0.81), ((0.1, 0.005, 0.5, 0.4), 1, 0.88))  # in another order
    parity = difference(BOTH, moved)
    assert parity[:4] == (1, 2, 2, 0)
    assert parity.box_difference == pytest.approx(0.02, abs=1e-6)
    assert parity.score_difference == pytest.approx(0.02, abs=1e-6)
    assert parity.apart == 2
    assert difference(BOTH, moved, Tolerance(0.01, 0.03)).apart == 1  # LEFT is within 0.005 and 0.02
    assert difference(BOTH, moved, Tolerance(0.03, 0.015)).apart == 1  # RIGHT is within 0.02 and 0.01


def test_pictures_are_summed_and_the_worst_counts():
    far = found((LEFT, 1, 0.7))
    parity = compare([BOTH, BOTH, found()], [BOTH, far, found()], STRICT, TEST)
    assert parity[:5] == (3, 4, 3, 1, 1) and parity.score_difference == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        found((LEFT, 2, 0.9), (RIGHT, 2, 0.8)),  # another class
        found(((0.1, 0.3, 0.5, 0.7), 1, 0.9), (RIGHT, 2, 0.8)),  # IoU with LEFT is 0.1 / 0.7
        found((LEFT, 1, 0.9), ((0.1, np.nan, 0.5, 1.0), 2, 0.8)),
    ],
)
def test_one_that_is_another_leaves_two_without_a_partner(other):
    assert difference(BOTH, other).unmatched == difference(other, BOTH).unmatched == 2


def test_partners_are_one_to_one():
    twice = found((LEFT, 1, 0.9), (LEFT, 1, 0.9))
    once = found((LEFT, 1, 0.9))
    assert difference(once, twice)[2:4] == difference(twice, once)[2:4] == (1, 1)


def test_equal_boxes_are_told_by_their_scores():
    ours, theirs = (found((LEFT, 1, a), (LEFT, 1, b)) for a, b in ((0.9, 0.6), (0.6, 0.9)))
    assert difference(ours, theirs) == Parity(1, 2, 2, 0, 0, 0.0, 0.0)


def test_the_better_overlap_is_taken_first():
    ours = found(((0.0, 0.0, 0.5, 0.5), 1, 0.5))
    theirs = found(((0.0, 0.0, 0.5, 0.4), 1, 0.5), ((0.0, 0.0, 0.5, 0.49), 1, 0.5))
    assert difference(ours, theirs).box_difference == pytest.approx(0.01, abs=1e-6)


def test_what_rounding_may_push_under_the_threshold_is_forgiven():
    for score, unmatched in ((0.0505, 0), (0.0599, 0), (0.0605, 1)):  # the threshold is 0.05, the tolerance 0.01
        more = found((LEFT, 1, 0.9), (RIGHT, 2, score))
        one = found((LEFT, 1, 0.9))
        assert difference(more, one).unmatched == difference(one, more).unmatched == unmatched


def test_the_last_of_full_rows_is_forgiven_where_the_other_side_is_full():
    test = TestConfig(score_threshold=0.05, max_detections=2)
    other_last = found((LEFT, 1, 0.9), ((0.6, 0.0, 0.9, 0.4), 2, 0.805))
    assert difference(BOTH, other_last, test=test).unmatched == 0
    better = found((LEFT, 1, 0.9), ((0.6, 0.0, 0.9, 0.4), 2, 0.85))  # over BOTH's last by more than the tolerance
    assert difference(BOTH, better, test=test).unmatched == 1
    not_full = found((LEFT, 1, 0.9))
    assert difference(BOTH, not_full, test=test).unmatched == 1
    assert difference(BOTH, other_last).unmatched == 2  # 10 rows are not full


def test_nan_is_never_forgiven():
    more = found((LEFT, 1, 0.9), (RIGHT, 2, np.nan))
    assert difference(found((LEFT, 1, 0.9)), more).unmatched == 1
    same_place = difference(BOTH, more)
    assert same_place.apart == 1 and np.isnan(same_place.score_difference)


def test_pictures_must_be_as_many():
    with pytest.raises(ValueError):
        compare([BOTH], [BOTH, BOTH], STRICT, TEST)


def parity(detections=100, unmatched=0, apart=0, matched=100):
    return Parity(1, detections, matched, unmatched, apart, 0.5, 0.25)


def test_the_gate():
    check(parity(), STRICT)
    for wrong in (parity(unmatched=1), parity(apart=1), parity(matched=0)):
        with pytest.raises(ParityError):
            check(wrong, STRICT)


def test_a_comparison_without_detections_proves_nothing():
    with pytest.raises(ParityError, match=r"finds nothing on the 2 pictures.*--images.*--score-threshold"):
        check(compare([found()] * 2, [found()] * 2, STRICT, TEST), STRICT)


def test_a_share_may_be_apart():
    tolerance = Tolerance(1e-3, 1e-2, share=0.95)
    check(parity(unmatched=2, apart=3), tolerance)
    with pytest.raises(ParityError, match="3 detections have no partner, and 3 of 100 matched ones .*; 5 may differ"):
        check(parity(unmatched=3, apart=3), tolerance)
    check(parity(detections=13, apart=1), tolerance)  # 0.65, rounded up
    with pytest.raises(ParityError):
        check(parity(detections=13, apart=2), tolerance)


def test_the_line_for_people():
    line = format_parity(parity(unmatched=1))
    assert "100 of 100 detections matched, 1 without" in line and "5.0e-01" in line and "2.5e-01" in line
