"""Labels of boxes: text on a filled rectangle that covers as little as possible of the other labels."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

Colour = tuple[int, int, int]  # RGB

SMALLEST_FONT = 13  # pixels
_OF_PICTURE = 1 / 34  # size of the font relative to the short side of the picture, at most
_OF_BOX = 1 / 4  # and relative to the median of the boxes' short sides, so that many labels do not hide a picture
_FONT_WEIGHT = 450  # from 100 to 1000; a little bolder than regular (400) because labels are small


class Label(NamedTuple):
    """The label of one box."""

    text: str
    colour: Colour  # of the rectangle; the text is black or white
    corners: Sequence[int]  # y0, x0, y1, x1 of the box, in pixels of the canvas


class Font(NamedTuple):
    """OpenCV's outline font at one size.

    OpenCV's older Hershey fonts and Pillow's built-in font have only ASCII letters, but class names may be in any
    language.
    """

    face: cv2.FontFace
    size: int

    def measure(self, text: str) -> tuple[int, int, int]:
        """Return how far the text extends right, up and down from the start of its baseline, in pixels."""
        x, y, width, height = cv2.getTextSize((0, 0), text, (0, 0), self.face, self.size, _FONT_WEIGHT)
        return x + width, -y, y + height

    def write(self, canvas: np.ndarray, text: str, baseline: tuple[int, int], colour: Colour) -> None:
        """Write into the canvas.  `baseline` is the x, y of the start of the baseline."""
        cv2.putText(canvas, text, baseline, colour, self.face, self.size, _FONT_WEIGHT)


def draw_labels(canvas: np.ndarray, labels: Sequence[Label]) -> None:
    """Write labels into the canvas.  The first label gets its place first and is on top."""
    height, width = canvas.shape[:2]
    font = Font(cv2.FontFace("sans"), font_size((height, width), [label.corners for label in labels]))
    _, ascent, descent = font.measure("Ågj|")  # one height for all labels
    margin = max(2, font.size // 5)

    placed = []  # (text, colour, rectangle)
    taken = np.zeros((0, 4))
    for label in labels:
        text = fit_text(label.text, font, width - 2 * margin)
        size = (min(ascent + descent + 2, height), min(font.measure(text)[0] + 2 * margin, width))
        rectangle = place_label(label.corners, size, (height, width), taken)
        taken = np.concatenate([taken, [rectangle]])
        placed.append((text, label.colour, rectangle))

    for text, colour, rectangle in reversed(placed):
        fill(canvas, *rectangle, colour)
        _, left, bottom, _ = rectangle
        font.write(canvas, text, (left + margin, bottom - descent - 1), text_colour(colour))


def font_size(canvas_size: tuple[int, int], boxes: Sequence[Sequence[int]]) -> int:
    """The size of the font in pixels, for labels of these boxes (y0, x0, y1, x1 each) on one canvas."""
    size = min(canvas_size) * _OF_PICTURE
    if boxes:
        size = min(size, _OF_BOX * float(np.median([min(y1 - y0, x1 - x0) for y0, x0, y1, x1 in boxes])))
    return max(SMALLEST_FONT, round(size))


def place_label(
    corners: Sequence[int], size: tuple[int, int], canvas_size: tuple[int, int], taken: np.ndarray
) -> tuple[int, int, int, int]:
    """Return the rectangle y0, x0, y1, x1 of a box's label, inside the canvas.

    Candidates in order: above the box, inside its top, below it, inside its bottom; each at the left, then at the
    right.  The one that covers least of the earlier labels, `taken` (L, 4), is used, and the first of several equals.
    """
    (y0, x0, y1, x1), (height, width), (canvas_height, canvas_width) = corners, size, canvas_size
    candidates = []
    for top in (y0 - height, y0, y1, y1 - height):
        for left in (x0, x1 - width):
            # A label outside the canvas is moved inside, even if it then covers the edge of its box.
            top_inside = min(max(top, 0), canvas_height - height)
            left_inside = min(max(left, 0), canvas_width - width)
            candidates.append((top_inside, left_inside, top_inside + height, left_inside + width))
    return min(candidates, key=lambda rectangle: _covered_area(rectangle, taken))


def _covered_area(rectangle: tuple[int, int, int, int], taken: np.ndarray) -> float:
    """Return the area of the rectangle that lies on `taken` (L, 4), in pixels, summed over its rows."""
    extents = np.minimum(taken[:, 2:], rectangle[2:]) - np.maximum(taken[:, :2], rectangle[:2])
    return float(np.sum(np.prod(np.maximum(extents, 0), axis=1)))


def fit_text(text: str, font: Font, width: int) -> str:
    """Return the text, shortened with an ellipsis if it is wider than `width` pixels."""
    if font.measure(text)[0] <= width:
        return text
    while text and font.measure(text + "…")[0] > width:
        text = text[:-1]
    return text + "…"


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever has the higher contrast ratio (WCAG 2) on the background."""
    linear = (np.asarray(background) / 255) ** 2.2
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def fill(canvas: np.ndarray, y0: int, x0: int, y1: int, x1: int, colour: Colour) -> None:
    """Fill a rectangle.  Negative ends lie outside the canvas; they do not count from its end as in Python."""
    canvas[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour
