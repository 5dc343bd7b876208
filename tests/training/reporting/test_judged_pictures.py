"""The images chosen for the report: how they are judged, ranked and drawn."""

import numpy as np
import pytest

from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from training.reporting.judged_pictures import (
    PictureJudgement,
    choose_pictures,
    draw_picture,
    judge_picture,
    judged_pictures,
)

CAT, DOG = 1, 2
CLASS_NAMES = ("cat", "dog", "hen")
GREY = 90
LEFT, RIGHT = (10, 10, 40, 40), (10, 50, 40, 70)  # two places of objects


def test_counts_of_each_picture(four_pictures):
    dataset, detections = four_pictures("")
    pairs = zip(dataset.examples, detections, strict=True)
    judgements = [judge_picture(i, example, record, 0.5) for i, (example, record) in enumerate(pairs)]
    assert judgements == [
        PictureJudgement(0, (), (DOG,), ()),
        PictureJudgement(1, (CAT, DOG), (), ()),
        PictureJudgement(2, (), (), ()),
        PictureJudgement(3, (CAT,), (), (CAT,)),
    ]
    assert [judgement.f1 for judgement in judgements] == pytest.approx([0, 1, np.nan, 2 / 3], nan_ok=True)
    assert PictureJudgement(0, (CAT,), (CAT,), (DOG, DOG)).f1 == pytest.approx(2 / 5)
    best, worst = choose_pictures(judgements)
    assert [judgement.position for judgement in best] == [1, 3]
    assert [judgement.position for judgement in worst] == [0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([((0, 0, 10, 5), CAT, 0.9)], ((), (CAT,), (CAT,))),  # IoU 0.5 is not above 0.5
        ([((0, 0, 10, 5.1), CAT, 0.9)], ((CAT,), (), ())),
        ([((0, 0, 10, 10), CAT, 0.5)], ((CAT,), (), ())),  # the least score that counts
        ([((0, 0, 10, 10), CAT, 0.49)], ((), (CAT,), ())),
        ([((0, 0, 10, 10), DOG, 0.9)], ((), (CAT,), (DOG,))),
        # The second best object is free, but the best is taken by a better detection, which comes later.
        ([((0, 0, 10, 10), CAT, 0.6), ((0, 0, 10, 9), CAT, 0.7)], ((CAT,), (), (CAT,))),
    ],
)
def test_one_detection(found, expected, make_example, make_record):
    example = make_example("x", [((0, 0, 10, 10), CAT, False)])
    assert judge_picture(7, example, make_record("x", found), 0.5) == (7, *expected)


def test_counts_agree_with_the_evaluation(make_example, make_record):
    rng = np.random.default_rng(0)
    examples, records, judgements = [], [], []
    for position in range(40):
        boxes, classes = random_boxes(rng, 6), rng.integers(1, 4, 6)
        near = boxes[rng.integers(0, 6, 12)] + rng.integers(-2, 3, (12, 4))
        objects = zip(boxes.tolist(), classes.tolist(), (rng.random(6) < 0.3).tolist(), strict=True)
        found = zip(near.tolist(), rng.integers(1, 4, 12).tolist(), rng.uniform(0.5, 1, 12).tolist(), strict=True)
        examples.append(make_example(str(position), list(objects)))
        records.append(make_record(str(position), list(found)))
        judgements.append(judge_picture(position, examples[-1], records[-1], 0.5))
    for class_index, entry in enumerate(evaluate_voc(examples, records, CLASS_NAMES).classes, 1):
        found, missed, wrong = (
            sum(getattr(judgement, field).count(class_index) for judgement in judgements)
            for field in ("found", "missed", "wrong")
        )
        assert found + missed == entry.objects
        assert found / entry.objects == pytest.approx(entry.recall[-1])
        assert found / (found + wrong) == pytest.approx(entry.precision[-1])
        assert min(found, missed, wrong) > 3  # enough of each to compare


def random_boxes(rng, count):
    top_left = rng.integers(0, 20, (count, 2))
    return np.concatenate([top_left, top_left + rng.integers(6, 14, (count, 2))], axis=1)


def test_best_and_worst_pictures_are_six_each_and_equal_ones_in_order():
    worth = [1, 0, 2, 2, 2, 2, 1, 0, 2, 2, 2, 1, 0, 2]  # of 2 objects, how many are found
    judgements = [PictureJudgement(i, (CAT,) * n, (CAT,) * (2 - n), ()) for i, n in enumerate(worth)]
    best, worst = choose_pictures(judgements)
    assert [judgement.position for judgement in best] == [2, 3, 4, 5, 8, 9]
    assert [judgement.position for judgement in worst] == [1, 7, 12, 0, 6, 11]


def test_no_picture_is_among_the_best_and_the_worst():
    best, worst = choose_pictures(PictureJudgement(i, (CAT,), (), ()) for i in range(9))
    assert [judgement.position for judgement in best] == [0, 1, 2, 3, 4]
    assert [judgement.position for judgement in worst] == [5, 6, 7, 8]
    assert choose_pictures([PictureJudgement(0, (), (), ())]) == ([], [])


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), (360, 480)), ((1200, 1600), (360, 480)), ((640, 16), (480, 12))]
)
def test_pictures_come_in_one_size(tmp_path, size, expected, make_example, make_record):
    example = make_example("x", [(LEFT, CAT, False)], tmp_path, size)
    assert draw_picture(example, make_record("x"), CLASS_NAMES).shape == (*expected, 3)


@pytest.mark.parametrize(("difficult", "brightest"), [(False, 255), (True, 150)])
def test_true_boxes_are_dashed_around_the_object(tmp_path, difficult, brightest, make_example, make_record):
    example = make_example("x", [((240, 320, 720, 960), CAT, difficult)], tmp_path, (960, 1280))
    low = make_record("x", [((0, 0, 100, 100), CAT, 0.49)])  # not shown
    drawn = draw_picture(example, low, CLASS_NAMES).astype(int)
    frame = np.zeros((360, 480), bool)
    frame[87:273, 117:363] = True  # three eighths of the box, and up to 3 pixels around it
    frame[91:269, 121:359] = False
    np.testing.assert_array_equal(drawn[~frame], GREY)
    assert drawn.min() == 0 and drawn.max() == brightest
    for side in (drawn[89, 120:360], drawn[270, 120:360], drawn[90:270, 119], drawn[90:270, 360]):
        dark, bright = (side[:, 0] < 40).mean(), (side[:, 0] > 110).mean()
        assert 0.25 < dark < 0.6 and 0.25 < bright < 0.6


def test_shown_detections_are_drawn_over_the_true_boxes(tmp_path, make_example, make_record):
    example = make_example("x", [((240, 320, 720, 960), CAT, False)], tmp_path, (960, 1280))
    alone = draw_picture(example, make_record("x"), CLASS_NAMES).astype(int)
    box = (236, 316, 724, 964)  # where the dashes are
    drawn = draw_picture(example, make_record("x", [(box, CAT, 0.5)]), CLASS_NAMES).astype(int)
    red = (drawn[..., 0] - drawn[..., 1] > 100) & (drawn[..., 0] > 180)
    assert red[100:260, 119:121].any(axis=1).all()
    assert not (alone[..., 0] - alone[..., 1] > 100).any()


def test_the_best_and_the_worst_images_of_a_data_set(tmp_path, four_pictures):
    dataset, records = four_pictures(tmp_path)
    best, worst = judged_pictures(dataset, records, 0.5)
    assert [(picture.image_id, picture.counts) for picture in (*best, *worst)] == [
        ("2007/<a>", "found 2, missed 0, wrong 0"),
        ("b", 'found 1, missed 0, wrong 1 (<b>&"cat")'),
        ("c", "found 0, missed 1 (dog), wrong 0"),
    ]
    assert [picture.f1 for picture in (*best, *worst)] == pytest.approx([1, 2 / 3, 0])
    assert all(picture.jpeg.startswith(b"\xff\xd8\xff") for picture in (*best, *worst))
