"""Drawings of boxes on pictures: which pixels change and which stay the same."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.api.drawing import class_colour, draw_anchors, draw_detections, draw_ground_truth, draw_proposals

NAMES = ["cat", "dog", "Großer Käse"]
GREY = 90


def picture(height=600, width=800):
    return np.full((height, width, 3), GREY, np.uint8)


def has_colour(pixels, colour):
    return np.all(pixels == np.asarray(colour, np.uint8), axis=-1)


def changed(image):
    return np.any(image != GREY, axis=-1)


def test_box_edges_have_the_class_colour_and_the_inside_is_unchanged():
    image = draw_detections(picture(), [(100, 200, 300, 400)], [2], [0.5], NAMES)
    colour = class_colour(2)
    assert image.shape == (600, 800, 3) and image.dtype == np.uint8
    assert has_colour(image[100:300, 200], colour).all()  # left column, then right, top and bottom
    assert has_colour(image[100:300, 399], colour).all()
    assert has_colour(image[100, 200:400], colour).all()
    assert has_colour(image[299, 200:400], colour).all()
    assert not changed(image[110:290, 210:390]).any()
    assert not changed(image[300:]).any() and not changed(image[:, 400:]).any() and not changed(image[:, :200]).any()


def test_a_label_is_above_its_box_in_black_or_white():
    image = draw_detections(picture(), [(100, 200, 300, 400)], [1], [0.5], NAMES)
    label = image[70:100, 200:400]
    assert has_colour(label, class_colour(1)).sum() > 300
    assert (label.sum(axis=-1) < 60).sum() > 20  # black text on bright red


def test_best_detection_is_on_top():
    boxes = [(100, 100, 200, 200)] * 3
    image = draw_detections(picture(), boxes, [1, 2, 3], [0.2, 0.9, 0.5], NAMES)
    assert has_colour(image[199, 100:200], class_colour(2)).all()


def test_a_small_picture_is_enlarged_with_its_boxes():
    image = draw_detections(picture(240, 320), [(100, 150, 200, 300)], [1], [0.5], NAMES)
    assert image.shape == (480, 640, 3)
    assert has_colour(image[200:400, 300], class_colour(1)).all()
    assert has_colour(image[399, 300:600], class_colour(1)).all()
    assert draw_proposals(picture(10, 50), [], []).shape == (40, 200, 3)


def test_inputs_are_not_modified():
    image, boxes = picture(), np.array([(10.0, 10.0, 500.0, 500.0)])
    draw_detections(image, boxes, [1], [0.5], NAMES)
    draw_ground_truth(image, boxes, [1], [True], NAMES)
    draw_proposals(image, boxes, [0.5])
    draw_anchors(image, boxes)
    assert not changed(image).any()
    np.testing.assert_array_equal(boxes, [(10, 10, 500, 500)])


def test_without_boxes_the_picture_is_unchanged():
    none = np.zeros((0, 4))
    for image in (
        draw_detections(picture(), none, [], [], NAMES),
        draw_ground_truth(picture(), none, [], [], NAMES),
        draw_proposals(picture(), none, []),
        draw_anchors(picture(), none),
    ):
        np.testing.assert_array_equal(image, picture())


def test_result_does_not_share_memory_with_the_input():
    image = picture()
    assert not np.shares_memory(draw_anchors(image, np.zeros((0, 4))), image)


def test_difficult_objects_are_dashed_and_say_so():
    box = [(100, 200, 300, 400)]
    plain = draw_ground_truth(picture(), box, [1], [False], NAMES)
    dashed = draw_ground_truth(picture(), box, [1], [True], NAMES)
    assert has_colour(plain[299, 200:400], class_colour(1)).all()
    drawn = has_colour(dashed[299, 200:400], class_colour(1))
    assert 0.3 < drawn.mean() < 0.7
    assert drawn[0] and drawn[-1]
    assert changed(dashed[:100]).sum() > 1.5 * changed(plain[:100]).sum()  # the longer label


def test_proposals_are_coloured_by_score_without_labels():
    image = draw_proposals(picture(), [(100, 100, 200, 200), (300, 300, 400, 400)], [0.05, 0.95])
    low, high = image[150, 100].astype(int), image[350, 300].astype(int)
    assert low[2] > low[0] and high[0] > high[2]  # blue, red
    assert not changed(image[:100]).any()


def test_anchors_of_one_scale_share_a_colour():
    side = 64 * np.sqrt(2)
    anchors = [(100, 100, 164, 164), (200, 100, 200 + side, 100 + side / 2), (300, 300, 428, 428)]
    image = draw_anchors(picture(), anchors)
    np.testing.assert_array_equal(image[130, 100], image[240, 100])
    assert np.any(image[130, 100] != image[350, 300])
    assert not changed(image[:100]).any()


def test_edges_outside_the_picture_are_not_drawn():
    image = draw_anchors(picture(), [(-50, -50, 100, 100), (-90, -90, -10, -10), (700, 0, 800, 900)])
    drawn = changed(image)
    assert drawn[:100, 99].all() and drawn[99, :100].all()
    assert not drawn[:90, :90].any() and not drawn[100:].any()


def test_a_box_without_area_is_visible():
    drawn = changed(draw_anchors(picture(), [(50, 60, 50, 60)]))
    assert drawn[50:52, 60:62].all() and drawn.sum() == 4


def test_a_label_does_not_cover_another_if_there_is_room():
    boxes = [(200, 200, 400, 400), (202, 200, 400, 402)]
    image = draw_detections(picture(), boxes, [1, 2], [0.9, 0.8], NAMES)
    above, alone = image[:200], draw_detections(picture(), boxes[:1], [1], [0.9], NAMES)[:200]
    np.testing.assert_array_equal(above[:, :300], alone[:, :300])


def test_label_of_a_full_picture_box_is_complete():
    image = draw_detections(picture(), [(0, 0, 600, 800)], [1], [0.5], NAMES)
    expected = draw_detections(picture(), [(100, 100, 600, 800)], [1], [0.5], NAMES)
    red = class_colour(1)
    assert has_colour(image[10:30], red).sum() > 500 and (image[:30].sum(axis=-1) < 60).sum() > 20
    # The label has as many black pixels as one with enough room above its box.
    assert (image.sum(axis=-1) < 60).sum() == (expected.sum(axis=-1) < 60).sum()


def test_a_long_name_is_shortened_to_the_picture():
    image = draw_detections(picture(480, 480), [(100, 100, 200, 200)], [1], [0.5], ["very long name " * 20])
    assert image.shape == (480, 480, 3) and changed(image).sum() > 480 * 10


def test_names_beyond_ascii_are_drawn_as_letters():
    drawn = [
        draw_detections(picture(), [(100, 100, 300, 300)], [1], [0.5], [name]) for name in ("ä", "?", "a", "猫", "ñ")
    ]
    for i, first in enumerate(drawn):
        assert all(np.any(first != second) for second in drawn[i + 1 :])


def test_line_breaks_in_a_name_are_spaces():
    one, two = (draw_detections(picture(), [(100, 100, 300, 300)], [1], [0.5], [name]) for name in ("a b", "a\n b"))
    np.testing.assert_array_equal(one, two)


def test_lines_grow_with_the_picture():
    small = draw_anchors(picture(500, 500), [(100, 100, 400, 400)])
    large = draw_anchors(picture(2000, 2000), [(400, 400, 1600, 1600)])
    assert changed(small[250]).sum() < changed(large[1000]).sum()


def test_class_colours_are_stable_and_distinct():
    colours = np.array([class_colour(i) for i in range(1, 81)], int)
    assert len({tuple(colour) for colour in colours}) == 80
    first = colours[:20]
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1e9 * np.eye(20)
    assert distances.min() > 50
    assert class_colour(1) == (255, 56, 56)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e9 * np.eye(80)
    assert distances.min() > 15


@pytest.mark.parametrize("class_index", [0, 4, -1])
def test_an_unknown_class_is_refused(class_index):
    with pytest.raises(ValueError, match="not in 1..3"):
        draw_detections(picture(), [(0, 0, 9, 9)], [class_index], [0.5], NAMES)


@pytest.mark.parametrize("image", [picture().astype(np.float32), picture()[..., 0], np.zeros((9, 9, 4), np.uint8)])
def test_a_picture_of_another_type_or_shape_is_refused(image):
    with pytest.raises(ValueError, match="not uint8"):
        draw_anchors(image, np.zeros((0, 4)))


def test_a_box_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        draw_anchors(picture(), [(0, 0, np.nan, 9)])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_random_boxes_never_fail(seed):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-300, 900, (12, 4))
    image = picture(*rng.integers(1, 500, 2))
    result = draw_ground_truth(image, boxes, rng.integers(1, 4, 12), rng.random(12) < 0.5, NAMES)
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    cv2.imencode(".png", result)
