"""Sliced detection: slices cover the picture, and each object is found once, with its whole box."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.api.finding.slicing import (
    LEAST_SIDE,
    OVERLAP,
    Slice,
    SlicedFinder,
    check_side,
    is_cut,
    merged,
    sliced,
    slices_of,
)
from keras_frcnn.api.pictures import PixelDetections
from keras_frcnn.facts.errors import InputError


class Eye:
    """Finds the filled rectangles of a picture, one for each colour, if they are not too small in what it looks at.

    The colour is the class, the share of the picture the score.  Small is less than a tenth of the short side.
    """

    class_names = tuple(str(number) for number in range(1, 256))
    turns = False
    nms_iou = 0.3

    def __init__(self):
        self.seen = []  # the number of pictures of each call

    def find(self, pictures, batch_size):
        assert len(pictures) <= batch_size
        self.seen.append(len(pictures))
        return [self._look(picture[:, :, 0]) for picture in pictures]

    def _look(self, grey):
        rows = []
        for colour in np.unique(grey[grey > 0]):
            y, x = np.nonzero(grey == colour)
            box = (y.min(), x.min(), y.max() + 1, x.max() + 1)
            if max(box[2] - box[0], box[3] - box[1]) * 10 >= min(grey.shape):
                rows.append((box, colour, (grey == colour).mean()))
        rows.sort(key=lambda row: -row[2])
        boxes, colours, scores = zip(*rows, strict=True) if rows else ([], [], [])
        return PixelDetections(
            np.array(boxes, np.float32).reshape(-1, 4), np.array(colours, np.int32), np.array(scores, np.float32)
        )


def painted(height, width, *boxes):
    picture = np.zeros((height, width, 3), np.uint8)
    for colour, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        picture[y0:y1, x0:x1] = colour
    return picture


def test_slices_by_hand():
    # Along x: 250 - 100 pixels beyond the first slice, in strides of at most 75: two more, at 75 and 150.
    assert slices_of((100, 250), 100) == [Slice(0, 0, 100, 100), Slice(0, 75, 100, 175), Slice(0, 150, 100, 250)]
    assert slices_of((60, 101), 100) == [Slice(0, 0, 60, 100), Slice(0, 1, 60, 101)]


def test_a_picture_that_is_not_larger_than_a_slice_has_none():
    assert slices_of((100, 100), 100) == slices_of((40, 99), 100) == []


@given(st.integers(1, 900), st.integers(1, 900), st.integers(LEAST_SIDE, 300))
def test_slices_cover_the_picture_and_overlap(height, width, side):
    slices = slices_of((height, width), side)
    if max(height, width) <= side:
        assert not slices
        return
    for axis, extent in enumerate((height, width)):
        starts = sorted({one[axis] for one in slices})
        ends = sorted({one[axis + 2] for one in slices})
        assert starts[0] == 0 and ends[-1] == extent
        assert {end - start for start, end in zip(starts, ends, strict=True)} == {min(side, extent)}
        assert all(end - start >= OVERLAP * side for start, end in zip(starts[1:], ends[:-1], strict=True))
    assert len(slices) == len({one[0] for one in slices}) * len({one[1] for one in slices})


def test_small_objects_are_found_in_slices_and_large_ones_in_the_picture():
    boxes = [(10, 10, 22, 24), (20, 490, 35, 505), (60, 40, 360, 350), (388, 588, 400, 600)]
    picture = painted(400, 600, *boxes)
    (whole,) = Eye().find([picture], 1)
    assert whole.class_ids.tolist() == [3]  # the others are smaller than 40 pixels
    (found,) = SlicedFinder(Eye(), 100).find([picture], 1)
    order = np.argsort(found.class_ids)
    assert found.class_ids[order].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(found.boxes[order], boxes)
    assert (np.diff(found.scores) <= 0).all()


@given(st.data())
def test_each_object_up_to_the_overlap_is_found_once(data):
    cells = data.draw(st.sets(st.integers(0, 39), min_size=1, max_size=12))
    boxes = []
    for cell in sorted(cells):  # 5 x 8 cells of 60 pixels
        y, x = 60 * (cell // 8), 60 * (cell % 8)
        height, width = data.draw(st.integers(12, 25)), data.draw(st.integers(12, 25))
        y, x = y + data.draw(st.integers(0, 60 - height)), x + data.draw(st.integers(0, 60 - width))
        boxes.append((y, x, y + height, x + width))
    (found,) = SlicedFinder(Eye(), 100).find([painted(300, 480, *boxes)], 1)
    order = np.argsort(found.class_ids, kind="stable")
    np.testing.assert_array_equal(found.boxes[order], boxes)


def test_slices_run_in_batches():
    eye = Eye()
    SlicedFinder(eye, 100).find([painted(100, 250, (1, 1, 50, 50))], 2)
    assert eye.seen == [1, 2, 1]  # the picture, then its three slices


def test_a_small_picture_is_looked_at_once():
    eye = Eye()
    (found,) = SlicedFinder(eye, 100).find([painted(80, 100, (1, 1, 50, 50))], 2)
    assert eye.seen == [1] and len(found.scores) == 1


def test_a_box_is_cut_at_the_inner_edges_of_its_slice_only():
    inside, size = Slice(0, 75, 100, 175), (100, 250)
    boxes = np.array([(0, 80, 100, 90), (40, 76, 50, 90), (40, 78, 50, 90), (40, 80, 50, 174), (40, 80, 50, 170)])
    assert is_cut(boxes, inside, size, distance=1).tolist() == [False, True, False, True, False]


def detections(*rows):
    """From (box, class, score) each."""
    boxes, classes, scores = zip(*rows, strict=True)
    return PixelDetections(np.array(boxes, np.float32), np.array(classes, np.int32), np.array(scores, np.float32))


def test_part_of_an_object_yields_to_the_whole_one_even_with_a_lower_score():
    whole, part, other_class = ((0, 0, 10, 40), 1, 0.6), ((0, 0, 10, 12), 1, 0.9), ((0, 0, 10, 12), 2, 0.7)
    found = merged(detections(part, other_class, whole), np.array([True, True, False]), 0.3)
    assert found.class_ids.tolist() == [2, 1]
    np.testing.assert_array_equal(found.boxes, [other_class[0], whole[0]])


def test_parts_that_nothing_covers_stay():
    rows = ((0, 0, 10, 12), 1, 0.9), ((0, 30, 10, 42), 1, 0.8), ((0, 6, 10, 42), 1, 0.7)
    # The third covers the second, but is a part itself; it overlaps with the first by 6 / 42, with the second by 1 / 3.
    found = merged(detections(*rows), np.array([True, True, True]), 0.3)
    np.testing.assert_array_equal(found.boxes, [rows[0][0], rows[1][0]])


def test_of_two_detections_of_one_object_the_better_one_stays():
    rows = ((0, 0, 10, 10), 1, 0.5), ((1, 0, 11, 10), 1, 0.8), ((30, 30, 40, 40), 1, 0.4)
    found = merged(detections(*rows), np.zeros(3, bool), 0.3)
    np.testing.assert_array_equal(found.boxes, [rows[1][0], rows[2][0]])
    np.testing.assert_allclose(found.scores, [0.8, 0.4])


def test_nothing_found_stays_nothing():
    nothing = PixelDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found = merged(nothing, np.zeros(0, bool), 0.3)
    assert found.boxes.shape == (0, 4) and found.class_ids.dtype == np.int32 and found.scores.dtype == np.float32


@pytest.mark.parametrize(("side", "problem"), [(0, "whole number"), (2.5, "whole number"), (LEAST_SIDE - 1, "too few")])
def test_a_wrong_side_is_refused(side, problem):
    with pytest.raises(InputError, match=problem):
        sliced(Eye(), side)
    with pytest.raises(InputError, match="^--slice-size"):
        check_side(side, "--slice-size")
    assert isinstance(sliced(Eye(), None), Eye)
