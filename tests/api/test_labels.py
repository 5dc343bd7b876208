"""Labels of boxes: their place, text and colour."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_frcnn.api.labels import Font, fit_text, place_label, text_colour


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
