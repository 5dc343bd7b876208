"""Labels of errors on hand-made cases: each kind and cause, their borders, and images without anything."""

import numpy as np
import pytest

from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from keras_frcnn.evaluation.error_analysis.labels import Thresholds, error_kinds, object_sizes
from keras_frcnn.facts.errors import InputError

CAT, DOG = 1, 2
A, B, FAR = (0, 0, 10, 10), (0, 100, 10, 110), (500, 500, 510, 510)
A_THIRD = (0, 5, 10, 15)  # IoU 1/3 with A
A_HALF = (0, 0, 10, 5)  # IoU exactly 1/2 with A
A_TENTH = (0, 0, 10, 1)  # IoU exactly 1/10 with A
A_LESS = (0, 0, 10, 0.9)  # IoU 0.09 with A


def kinds(analysis):
    """The labels of the detections by descending score."""
    return analysis.errors.false_positives.kinds.tolist()


def misses(analysis):
    """(object, kind, cause) of each miss."""
    found = analysis.errors.misses
    return list(zip(found.objects.tolist(), found.kinds.tolist(), found.causes.tolist(), strict=True))


@pytest.mark.parametrize(
    ("box", "class_index", "label"),
    [
        (A, CAT, ""),
        (A_THIRD, CAT, "localisation"),
        (A_HALF, CAT, "localisation"),  # VOC's match needs more than t_f
        (A_TENTH, CAT, "localisation"),
        (A_LESS, CAT, "background"),
        (A, DOG, "confusion"),
        (A_HALF, DOG, "both"),
        (A_THIRD, DOG, "both"),
        (A_TENTH, DOG, "both"),
        (A_LESS, DOG, "background"),
        (FAR, CAT, "background"),
    ],
)
def test_the_label_of_one_detection(analyse, box, class_index, label):
    assert kinds(analyse([(A, CAT)], [(box, class_index, 0.9)])) == [label]


def test_the_second_detection_of_an_object_is_a_duplicate(analyse):
    analysis = analyse([(A, CAT)], [(A, CAT, 0.8), (A, CAT, 0.9), (A, CAT, 0.7)])
    assert kinds(analysis) == ["", "duplicate", "duplicate"]
    assert analysis.errors.false_positives.targets.tolist() == [0, 0, 0]


def test_the_order_of_the_conditions():
    own = np.array([0.3, 0.7, 0.7, 0.05, 0.05, 0.0])
    other = np.array([0.9, 0.9, 0.3, 0.9, 0.3, 0.05])
    expected = ["localisation", "confusion", "duplicate", "confusion", "both", "background"]
    assert error_kinds(own, other, Thresholds()).tolist() == expected


def test_a_match_threshold_below_the_background_threshold_leaves_no_localisation_errors(analyse):
    thresholds = Thresholds(foreground=0.05)
    found = [(A_LESS, CAT, 0.9), (A_THIRD, CAT, 0.8), (A_LESS, DOG, 0.7), (FAR, CAT, 0.6)]
    assert kinds(analyse([(A, CAT)], found, thresholds=thresholds)) == ["", "duplicate", "confusion", "background"]


def test_a_miss_belongs_to_the_error_with_the_highest_score_that_aims_at_it(analyse):
    confused_first = analyse([(A, CAT)], [(A_THIRD, CAT, 0.5), (A, DOG, 0.6), (A, DOG, 0.4)])
    assert misses(confused_first) == [(0, "confusion", "unknown")]
    assert confused_first.errors.false_positives.finds.tolist() == [True, False, False]
    displaced_first = analyse([(A, CAT)], [(A_THIRD, CAT, 0.7), (A, DOG, 0.6)])
    assert misses(displaced_first) == [(0, "localisation", "unknown")]


def test_errors_that_aim_at_a_found_object_find_nothing(analyse):
    analysis = analyse([(A, CAT)], [(A_THIRD, CAT, 0.9), (A, DOG, 0.8), (A, CAT, 0.1)])
    assert kinds(analysis) == ["localisation", "confusion", ""]
    assert not analysis.errors.false_positives.finds.any() and misses(analysis) == []


def test_difficult_objects_are_no_misses_and_errors_on_them_find_nothing(analyse):
    analysis = analyse([(A, CAT, True), (B, DOG, True)], [(A, CAT, 0.9), (A_THIRD, CAT, 0.8), (B, CAT, 0.7)])
    assert kinds(analysis) == ["", "localisation", "confusion"]
    assert not analysis.errors.false_positives.right.any() and not analysis.errors.false_positives.finds.any()
    assert misses(analysis) == []


@pytest.mark.parametrize(
    ("found", "proposals", "cause"),
    [
        ([], [], "no proposal"),
        ([], [A_HALF, FAR], "no proposal"),  # an IoU of t_f is not enough
        ([], [FAR, A], "low score"),
        ([(A_THIRD, CAT, 0.9)], [A], "suppressed"),  # NMS drops boxes on A, whose IoU with the detection is above 0.3
        ([(A_TENTH, CAT, 0.9)], [A], "low score"),
        ([(A_THIRD, DOG, 0.9)], [A], "low score"),  # NMS does not compare classes
        ([(A, DOG, 0.9)], [A], "suppressed"),  # reported under another class
        ([(A, DOG, 0.9)], [FAR], "no proposal"),
        ([(A, DOG, 0.9)], None, "unknown"),
    ],
)
def test_the_cause_of_a_miss(analyse, found, proposals, cause):
    ((_, _, named),) = misses(analyse([(A, CAT)], found, proposals))
    assert named == cause


def test_a_right_detection_of_a_neighbour_suppresses_an_object(analyse):
    objects = [(A, CAT), (A_THIRD, CAT)]
    assert misses(analyse(objects, [(A, CAT, 0.9)], [A, A_THIRD])) == [(1, "missed", "suppressed")]
    apart = Thresholds(suppression=0.4)  # an NMS that keeps both
    assert misses(analyse(objects, [(A, CAT, 0.9)], [A, A_THIRD], thresholds=apart)) == [(1, "missed", "low score")]


def test_a_detection_is_compared_only_with_objects_of_its_image(make_image):
    images = [make_image([(A, CAT)], [(FAR, CAT, 0.9)], "x"), make_image([(FAR, CAT)], [], "y")]
    examples, records = zip(*images, strict=True)
    analysis = error_analysis(examples, records, ("cat",), {"x": np.zeros((0, 4)), "y": np.array([FAR])})
    assert kinds(analysis) == ["background"]
    assert misses(analysis) == [(0, "missed", "no proposal"), (1, "missed", "low score")]


def test_sizes_are_those_of_coco(analyse):
    assert object_sizes(np.array([0, 1023.9, 1024, 9215.9, 9216, 1e9])).tolist() == [
        "small", "small", "medium", "medium", "large", "large"]  # fmt: skip
    boxes = [((0, 0, 31, 33), CAT), ((0, 0, 32, 32), CAT), ((0, 0, 96, 96), CAT)]
    assert analyse(boxes).errors.misses.sizes.tolist() == ["small", "medium", "large"]
    stated = np.array([5000.0, 10000.0, 10.0])  # areas of the data set, such as those of COCO's masks
    assert analyse(boxes, areas=stated).errors.misses.sizes.tolist() == ["medium", "large", "small"]


def test_images_without_proposals_must_be_named(make_image):
    example, record = make_image([(A, CAT)])
    with pytest.raises(InputError, match="proposals of image 'a'.*missing"):
        error_analysis([example], [record], ("cat",), {"b": np.zeros((0, 4))})


def test_a_background_threshold_of_zero_is_refused(analyse):
    with pytest.raises(ValueError, match="thresholds.background is 0"):
        analyse(thresholds=Thresholds(background=0))
