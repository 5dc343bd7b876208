"""Labels of boxes: their place, text and colour."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.api.labels import Font, fit_text, font_size, place_label, text_colour


def test_text_colour_has_the_better_contrast():
    assert text_colour((255, 255, 70)) == (0, 0, 0)
    assert text_colour((90, 0, 160)) == (255, 255, 255)


sizes = st.tuples(st.integers(1, 90), st.integers(1, 400))
canvas = (100, 400)


@given(st.tuples(*[st.integers(-200, 600)] * 4), sizes, st.lists(st.tuples(*[st.integers(0, 100)] * 4), max_size=4))
def test_labels_lie_inside_the_picture(corners, size, taken):
    taken = np.asarray(taken, float).reshape(-1, 4)
    y0, x0, y1, x1 = place_label(corners, size, canvas, taken)
    assert 0 <= y0 and 0 <= x0 and y1 <= canvas[0] and x1 <= canvas[1]
    assert (y1 - y0, x1 - x0) == size


def test_a_text_that_is_too_wide_ends_in_an_ellipsis():
    font = Font(cv2.FontFace("sans"), 14)
    short = fit_text("very long name", font, 60)
    assert short.endswith("…") and "very long name".startswith(short[:-1]) and len(short) > 3
    assert font.measure(short)[0] <= 60
    assert fit_text("cat", font, 60) == "cat"


@pytest.mark.parametrize(
    ("canvas", "sides", "size"),
    [
        ((1700, 3400), [], 50),  # a 34th of the short side
        ((1700, 3400), [(900, 500)], 50),
        ((1700, 3400), [(900, 500), (120, 80), (100, 200)], 25),  # a quarter of the median of 500, 80 and 100
        ((1700, 3400), [(9, 9)], 13),
        ((480, 640), [(300, 300)], 14),
        ((100, 100), [(90, 90)], 13),
    ],
)
def test_labels_are_small_where_most_boxes_are(canvas, sides, size):
    assert font_size(canvas, [(5, 7, 5 + height, 7 + width) for height, width in sides]) == size
