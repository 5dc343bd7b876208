"""The worst pictures of the error analysis: which ones, and what is drawn on them."""

import math

import cv2
import numpy as np
import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.error_analysis.analysis import error_analysis
from training.reporting.error_pictures import (
    COLOURS,
    WORST_PICTURES,
    PictureErrors,
    error_pictures,
    marked_errors,
    worst_pictures,
)

CAT, DOG, HEN = 1, 2, 3
NAMES = ("cat", "sea\ndog", "hen")
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)
LEFT_THIRD = (10, 25, 40, 55)  # IoU 1/3 with LEFT
NOWHERE = (45, 0, 55, 8)


@pytest.fixture
def analyse(make_example, make_record):
    """The error analysis of images (objects, detections[, proposals]) at score 0.5, and their data set."""

    def analyse(*images, folder="", score_threshold=0.5):
        pairs, proposals = [], {}
        for number, (objects, found, *proposed) in enumerate(images):
            objects = [(*entry, False)[:3] for entry in objects]
            pairs.append((make_example(str(number), objects, folder), make_record(str(number), found)))
            if proposed:
                proposals[str(number)] = np.array(proposed[0], np.float32).reshape(-1, 4)
        examples, records = zip(*pairs, strict=True)
        dataset = Dataset("pictures", NAMES, examples, {})
        return dataset, error_analysis(examples, records, NAMES, proposals or None, score_threshold=score_threshold)

    return analyse


def test_the_worst_pictures_come_first(analyse):
    right, wrong = (LEFT, CAT, 0.9), (NOWHERE, CAT, 0.8)
    _, analysis = analyse(
        ([(LEFT, CAT)], [right]),  # nothing is wrong: left out
        ([], []),
        ([(LEFT, CAT)], [right, wrong]),  # F1 2/3
        ([(LEFT, CAT)], []),  # F1 0
        ([(LEFT, CAT), (RIGHT, DOG)], [wrong]),  # F1 0 with more errors
        ([(LEFT, CAT, True)], [right]),  # only a difficult object
        ([(LEFT, CAT)], [(LEFT, CAT, 0.4)]),  # missed at this score threshold
    )
    assert worst_pictures(analysis) == [
        PictureErrors(4, 0, 2, 1),
        PictureErrors(3, 0, 1, 0),
        PictureErrors(6, 0, 1, 0),
        PictureErrors(2, 1, 0, 1),
    ]
    assert worst_pictures(analysis, count=1) == [PictureErrors(4, 0, 2, 1)]
    assert PictureErrors(0, 1, 0, 1).f1 == pytest.approx(2 / 3) and math.isnan(PictureErrors(0, 0, 0, 0).f1)


def test_no_more_pictures_than_the_page_shows(analyse):
    _, analysis = analyse(*[([(LEFT, CAT)], [])] * (WORST_PICTURES + 1))
    assert [entry.position for entry in worst_pictures(analysis)] == list(range(WORST_PICTURES))


def test_the_label_of_each_error(analyse):
    objects = [(LEFT, CAT), (RIGHT, DOG)]
    found = [
        (LEFT, CAT, 0.95),
        (LEFT, CAT, 0.9),
        (LEFT_THIRD, CAT, 0.8),
        (RIGHT, HEN, 0.7),
        (LEFT_THIRD, HEN, 0.6),
        (NOWHERE, DOG, 0.55),
        (NOWHERE, DOG, 0.45),
    ]
    _, analysis = analyse((objects, found, [LEFT, RIGHT]), ([(LEFT, HEN)], [(LEFT, DOG, 0.9)], [LEFT]))
    assert [(entry.label, entry.colour, entry.dashed) for entry in marked_errors(analysis, 0)] == [
        ("cat 0.90 duplicate", COLOURS["duplicate"], False),
        ("cat 0.80 localisation", COLOURS["localisation"], False),
        ("hen 0.70 confusion: sea dog", COLOURS["confusion"], False),
        ("hen 0.60 both", COLOURS["both"], False),
        ("sea dog 0.55 background", COLOURS["background"], False),
        ("missed sea dog: suppressed", COLOURS["missed"], True),
        ("", COLOURS["right"], False),
    ]
    np.testing.assert_array_equal(marked_errors(analysis, 0)[0].box, LEFT)


def test_the_label_of_a_miss(analyse):
    objects = [(LEFT, CAT), (RIGHT, DOG)]
    _, analysis = analyse((objects, [(LEFT, CAT, 0.25)], [LEFT]), (objects, [], [RIGHT]))
    assert [entry.label for entry in marked_errors(analysis, 0)] == [
        "missed cat: score 0.25", "missed sea dog: no proposal"]  # fmt: skip
    assert [entry.label for entry in marked_errors(analysis, 1)] == [
        "missed cat: no proposal", "missed sea dog: low score"]  # fmt: skip
    _, unknown = analyse((objects, [(LEFT, CAT, 0.25)]))
    assert [entry.label for entry in marked_errors(unknown, 0)] == ["missed cat: score 0.25", "missed sea dog"]


def test_a_picture_shows_its_errors(analyse, tmp_path):
    found = [(LEFT, CAT, 0.9), (NOWHERE, DOG, 0.8), (NOWHERE, DOG, 0.7)]
    dataset, analysis = analyse(([(LEFT, CAT), (RIGHT, DOG)], found), ([], []), folder=tmp_path)
    (picture,) = error_pictures(dataset, analysis)
    assert (picture.image_id, picture.counts) == ("0", "found 1, missed 1; 2 background")
    assert picture.f1 == pytest.approx(2 / 5)

    pixels = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert pixels.shape[:2] == (480, 640)  # 60 x 80, enlarged eight times
    # The left frame of the right detection, 2 pixels wide, and that of the false positive.
    for (row, column), name in {(200, 81): "right", (400, 1): "background"}.items():
        assert np.abs(pixels[row, column] - COLOURS[name]).max() < 60, name
    dashes = pixels[88:312, 400:402].min(axis=(1, 2))  # of the missed object
    assert dashes.max() > 200 and dashes.min() < 140
