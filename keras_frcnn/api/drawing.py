"""Boxes drawn on pictures: detections, ground truth, proposals and anchors.

All functions take an RGB picture, (H, W, 3) uint8, and boxes in its pixels, yxyx, continuous corners; they give a new
RGB picture and leave the one they were given as it is.  Small pictures come back enlarged, so that labels can be read
beside the objects: the short side is brought to 480 pixels, by a factor of at most 4.  Boxes may reach beyond the
picture; what lies outside is not drawn.
"""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

MIN_SHORT_SIDE = 480
MAX_ENLARGEMENT = 4.0
SHOWN_SCORE = 0.5  # the least score of a detection, where pictures are made of an evaluation

Colour = tuple[int, int, int]  # RGB

# Bright enough for dark pictures, saturated enough for light ones, and no two alike.
_PALETTE: tuple[Colour, ...] = (
    (255, 56, 56),
    (0, 200, 255),
    (60, 220, 60),
    (255, 165, 0),
    (190, 90, 255),
    (0, 170, 140),
    (60, 110, 255),
    (255, 120, 210),
    (190, 255, 90),
    (185, 110, 40),
    (130, 255, 215),
    (215, 20, 110),
    (255, 205, 165),
    (235, 150, 130),
    (255, 240, 50),
    (120, 50, 220),
    (205, 190, 255),
    (20, 130, 50),
    (255, 95, 0),
    (110, 160, 215),
)
_FONT_WEIGHT = 450  # of 100..1000; a little over regular, as labels are small
_DENSE = 60  # from this many boxes on, lines are thin, so that the picture stays visible


class _Marked(NamedTuple):
    """One box as it is to be drawn."""

    box: np.ndarray  # (4,) yxyx, pixels of the given picture
    colour: Colour
    label: str  # empty for a box without one
    dashed: bool


def class_colour(class_index: int) -> Colour:
    """The colour of class 1, 2, ...: always the same, and far from those of the other classes.

    Twenty chosen colours, then hues that the golden ratio spreads out, in six combinations of
    saturation and brightness.
    """
    position = class_index - 1
    if position < len(_PALETTE):
        return _PALETTE[position]
    saturation, value = (0.9, 0.5)[position % 2], (1.0, 0.75, 0.55)[position % 3]
    red, green, blue = colorsys.hsv_to_rgb(position * 0.618034 % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def score_colour(score: float) -> Colour:
    """Blue at 0 over green and yellow to red at 1."""
    level = 0.1 + 0.8 * min(max(float(score), 0.0), 1.0)  # the ends of the colour map are nearly black
    pixel = np.full((1, 1), round(255 * level), np.uint8)
    blue, green, red = cv2.applyColorMap(pixel, cv2.COLORMAP_TURBO)[0, 0].tolist()
    return red, green, blue


def draw_detections(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw each detection with its class and score, the best on top.

    Takes boxes (D, 4), classes (D,) in 1..len(class_names) and scores (D,); padding is already dropped.
    """
    boxes, classes, scores = _as_boxes(boxes), np.asarray(classes, int), np.asarray(scores, float)
    return _draw(
        image,
        [
            _Marked(
                boxes[i], class_colour(classes[i]), f"{_class_name(classes[i], class_names)} {scores[i]:.2f}", False
            )
            for i in np.argsort(-scores, kind="stable")
        ],
    )


def draw_ground_truth(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, difficult: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw each annotated object with its class; difficult ones are dashed and say so.

    Takes boxes (N, 4), classes (N,) in 1..len(class_names) and difficult (N,) bool.
    """
    marked = []
    for box, class_index, hard in zip(_as_boxes(boxes), np.asarray(classes, int), difficult, strict=True):
        label = _class_name(class_index, class_names) + (" (difficult)" if hard else "")
        marked.append(_Marked(box, class_colour(class_index), label, bool(hard)))
    return _draw(image, marked)


def draw_proposals(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Draw proposals without labels, coloured by `score_colour`, the best on top; boxes (P, 4), scores (P,) in 0..1."""
    boxes, scores = _as_boxes(boxes), np.asarray(scores, float)
    order = np.argsort(-scores, kind="stable")
    return _draw(image, [_Marked(boxes[i], score_colour(scores[i]), "", False) for i in order])


def draw_anchors(image: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Draw anchors (A, 4) without labels; those of one scale, whatever their ratio, share a colour."""
    anchors = _as_boxes(anchors)
    sides = np.sqrt(np.prod(anchors[:, 2:] - anchors[:, :2], axis=1))
    # Half octaves: scales are further apart than that, and rounded corners within one scale are not.
    _, scales = np.unique(np.round(2 * np.log2(np.maximum(sides, 1e-6))), return_inverse=True)
    return _draw(
        image,
        [_Marked(anchor, class_colour(scale + 1), "", False) for anchor, scale in zip(anchors, scales, strict=True)],
    )


def _draw(image: np.ndarray, marked: Sequence[_Marked]) -> np.ndarray:
    """The core of all: enlarge, draw the boxes, then the labels above every line; the first box is the topmost."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 (H, W, 3)")
    height, width = image.shape[:2]
    canvas = _enlarge(image)
    scale = np.tile([canvas.shape[0] / height, canvas.shape[1] / width], 2)
    thickness = max(2, round(min(canvas.shape[:2]) / 270))
    if len(marked) >= _DENSE:
        thickness = max(1, thickness // 2)

    corners = [np.round(entry.box * scale).astype(int).tolist() for entry in marked]
    for entry, corner in zip(reversed(marked), reversed(corners), strict=True):
        _draw_frame(canvas, corner, entry.colour, thickness, entry.dashed)
    _draw_labels(canvas, marked, corners)
    return canvas


def _enlarge(image: np.ndarray) -> np.ndarray:
    """A copy whose short side is at least `MIN_SHORT_SIDE`, or that is `MAX_ENLARGEMENT` as large."""
    height, width = image.shape[:2]
    factor = min(MIN_SHORT_SIDE / min(height, width), MAX_ENLARGEMENT)
    if factor <= 1:
        return image.copy()
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_CUBIC)


def _draw_frame(canvas: np.ndarray, corners: Sequence[int], colour: Colour, thickness: int, dashed: bool) -> None:
    """Draw a frame into the canvas, its lines within the box; corners y0, x0, y1, x1 in whole pixels, ends exclusive.

    A box thinner than a line still gets its line.
    """
    y0, x0, y1, x1 = corners
    y1, x1 = max(y1, y0 + thickness), max(x1, x0 + thickness)
    dash = 4 * thickness
    for y in (y0, y1 - thickness):
        for low, high in _strokes(x0, x1, dash, dashed):
            _fill(canvas, y, low, y + thickness, high, colour)
    for x in (x0, x1 - thickness):
        for low, high in _strokes(y0, y1, dash, dashed):
            _fill(canvas, low, x, high, x + thickness, colour)


def _strokes(low: int, high: int, dash: int, dashed: bool) -> list[tuple[int, int]]:
    """The parts of a line from low to high that are drawn; dashes and gaps are about equal, with a dash at each end."""
    if not dashed:
        return [(low, high)]
    pieces = max(1, round((high - low) / dash / 2) * 2 - 1)
    ends = np.round(np.linspace(low, high, pieces + 1)).astype(int).tolist()
    return list(zip(ends[0::2], ends[1::2], strict=True))


def _fill(canvas: np.ndarray, y0: int, x0: int, y1: int, x1: int, colour: Colour) -> None:
    """Fill a rectangle; negative ends mean outside, not Python's counting from the end."""
    canvas[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour


class _Font(NamedTuple):
    """A font at one size.

    OpenCV's outline font, as its older Hershey fonts and Pillow's built-in one have no letters beyond ASCII, and class
    names come in all languages.
    """

    face: cv2.FontFace
    size: int

    def measure(self, text: str) -> tuple[int, int, int]:
        """How far the text reaches from the start of its baseline: right, up and down, in pixels."""
        x, y, width, height = cv2.getTextSize((0, 0), text, (0, 0), self.face, self.size, _FONT_WEIGHT)
        return x + width, -y, y + height

    def write(self, canvas: np.ndarray, text: str, baseline: tuple[int, int], colour: Colour) -> None:
        """Write into the canvas; the baseline starts at x, y."""
        cv2.putText(canvas, text, baseline, colour, self.face, self.size, _FONT_WEIGHT)


def _draw_labels(canvas: np.ndarray, marked: Sequence[_Marked], corners: Sequence[Sequence[int]]) -> None:
    """Write the labels; the first box has the first choice of place, and its label stays on top."""
    height, width = canvas.shape[:2]
    font = _Font(cv2.FontFace("sans"), max(13, round(min(height, width) / 34)))
    _, ascent, descent = font.measure("Ågj|")  # one height for all labels
    margin = max(2, font.size // 5)

    placed = []  # (text, colour, rectangle)
    taken = np.zeros((0, 4))
    for entry, corner in zip(marked, corners, strict=True):
        if not entry.label:
            continue
        text = _fit_text(entry.label, font, width - 2 * margin)
        size = (min(ascent + descent + 2, height), min(font.measure(text)[0] + 2 * margin, width))
        rectangle = _place_label(corner, size, (height, width), taken)
        taken = np.concatenate([taken, [rectangle]])
        placed.append((text, entry.colour, rectangle))

    for text, colour, rectangle in reversed(placed):
        _fill(canvas, *rectangle, colour)
        _, left, bottom, _ = rectangle
        font.write(canvas, text, (left + margin, bottom - descent - 1), _text_colour(colour))


def _place_label(
    corners: Sequence[int], size: tuple[int, int], canvas_size: tuple[int, int], taken: np.ndarray
) -> tuple[int, int, int, int]:
    """The rectangle for a label of a box, y0, x0, y1, x1, wholly within the canvas.

    Tried in turn: above the box, inside its top, below it, inside its bottom, each at the left and at the right end.
    The first that covers nothing of the labels placed before, `taken` (L, 4), is used; else the one that covers least.
    """
    (y0, x0, y1, x1), (height, width), (canvas_height, canvas_width) = corners, size, canvas_size
    candidates = []
    for top in (y0 - height, y0, y1, y1 - height):
        for left in (x0, x1 - width):
            # Beyond the border the label slides back to it, over the box's own edge if need be.
            top_inside = min(max(top, 0), canvas_height - height)
            left_inside = min(max(left, 0), canvas_width - width)
            candidates.append((top_inside, left_inside, top_inside + height, left_inside + width))
    return min(candidates, key=lambda rectangle: _covered_area(rectangle, taken))


def _covered_area(rectangle: tuple[int, int, int, int], taken: np.ndarray) -> float:
    extents = np.minimum(taken[:, 2:], rectangle[2:]) - np.maximum(taken[:, :2], rectangle[:2])
    return float(np.sum(np.prod(np.maximum(extents, 0), axis=1)))


def _fit_text(text: str, font: _Font, width: int) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `width` pixels."""
    if font.measure(text)[0] <= width:
        return text
    while text and font.measure(text + "…")[0] > width:
        text = text[:-1]
    return text + "…"


def _text_colour(background: Colour) -> Colour:
    """Black or white, whichever has the higher contrast ratio as WCAG 2 defines it."""
    linear = (np.asarray(background) / 255) ** 2.2
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def _class_name(class_index: int, class_names: Sequence[str]) -> str:
    """The name on one line.  Raises `ValueError` for background or an unknown class, which padding would be."""
    if not 1 <= class_index <= len(class_names):
        raise ValueError(f"class {class_index} is not in 1..{len(class_names)}")
    return " ".join(class_names[class_index - 1].split())


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.all(np.isfinite(boxes)):
        raise ValueError("a box has a corner that is not a finite number")
    return boxes
