"""Drawings of boxes on pictures: detections, ground truth, proposals and anchors.

All functions take an RGB picture, (H, W, 3) uint8, and boxes in its pixels, in the order y0, x0, y1, x1 with continuous
corners.  They return a new RGB picture and do not modify the input.  A small picture is enlarged so that its labels are
readable: the short side becomes 480 pixels, but the factor is at most 4.  Parts of boxes outside the picture are not
drawn.

All functions raise ValueError if the picture is not uint8 (H, W, 3) or a box is not finite.
"""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from keras_frcnn.api.labels import Colour, Label, draw_labels, fill

MIN_SHORT_SIDE = 480
MAX_ENLARGEMENT = 4.0
SHOWN_SCORE = 0.5  # the lowest score of the detections drawn in pictures of an evaluation

# Bright enough for dark pictures, saturated enough for light pictures, and easy to tell apart.
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
_DENSE = 60  # with this many boxes or more, lines are thin so that the picture stays visible


class MarkedBox(NamedTuple):
    """One box to draw."""

    box: np.ndarray  # (4,) y0, x0, y1, x1 in pixels of the input picture
    colour: Colour
    label: str  # empty for no label
    dashed: bool


def class_colour(class_index: int) -> Colour:
    """Return the colour of class 1, 2, ...  It is always the same and differs clearly from those of other classes.

    The first twenty colours are chosen by hand.  The hues of later ones are spread by the golden ratio, in six
    combinations of saturation and brightness.
    """
    position = class_index - 1
    if position < len(_PALETTE):
        return _PALETTE[position]
    saturation, value = (0.9, 0.5)[position % 2], (1.0, 0.75, 0.55)[position % 3]
    red, green, blue = colorsys.hsv_to_rgb(position * 0.618034 % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def score_colour(score: float) -> Colour:
    """Return a colour from blue for score 0, through green and yellow, to red for score 1."""
    level = 0.1 + 0.8 * min(max(float(score), 0.0), 1.0)  # the ends of the colour map are nearly black
    pixel = np.full((1, 1), round(255 * level), np.uint8)
    blue, green, red = cv2.applyColorMap(pixel, cv2.COLORMAP_TURBO)[0, 0].tolist()
    return red, green, blue


def draw_detections(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw each detection with its class and score.  The detection with the highest score is on top.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes: (D, 4) in pixels.
        classes: (D,) in 1..len(class_names), without padding.
        scores: (D,).
        class_names: The names without background.

    Raises:
        ValueError: A class has no name.
    """
    boxes, classes, scores = _as_boxes(boxes), np.asarray(classes, int), np.asarray(scores, float)
    return draw_marked_boxes(
        image,
        [
            MarkedBox(
                boxes[i], class_colour(classes[i]), f"{_class_name(classes[i], class_names)} {scores[i]:.2f}", False
            )
            for i in np.argsort(-scores, kind="stable")
        ],
    )


def draw_ground_truth(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, difficult: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw each annotated object with its class.  Difficult objects are dashed, and their label says "difficult".

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes: (N, 4) in pixels.
        classes: (N,) in 1..len(class_names), without padding.
        difficult: (N,) bool.
        class_names: The names without background.

    Raises:
        ValueError: A class has no name.
    """
    marked = []
    for box, class_index, hard in zip(_as_boxes(boxes), np.asarray(classes, int), difficult, strict=True):
        label = _class_name(class_index, class_names) + (" (difficult)" if hard else "")
        marked.append(MarkedBox(box, class_colour(class_index), label, bool(hard)))
    return draw_marked_boxes(image, marked)


def draw_proposals(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Draw proposals in the colours of their scores, without labels.  The one with the highest score is on top.

    Takes boxes (P, 4) in pixels and scores (P,) in 0..1.
    """
    boxes, scores = _as_boxes(boxes), np.asarray(scores, float)
    order = np.argsort(-scores, kind="stable")
    return draw_marked_boxes(image, [MarkedBox(boxes[i], score_colour(scores[i]), "", False) for i in order])


def draw_anchors(image: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Draw anchors (A, 4), in pixels, without labels.  Anchors of one scale have one colour at every aspect ratio."""
    anchors = _as_boxes(anchors)
    sides = np.sqrt(np.prod(anchors[:, 2:] - anchors[:, :2], axis=1))
    # Group by half octaves: scales differ by more than that, rounding of the corners changes a side by less.
    _, scales = np.unique(np.round(2 * np.log2(np.maximum(sides, 1e-6))), return_inverse=True)
    return draw_marked_boxes(
        image,
        [MarkedBox(anchor, class_colour(scale + 1), "", False) for anchor, scale in zip(anchors, scales, strict=True)],
    )


def draw_marked_boxes(image: np.ndarray, marked: Sequence[MarkedBox]) -> np.ndarray:
    """Enlarge the picture and draw all boxes, then all labels.  The first box of `marked` is on top.

    Args:
        image: (H, W, 3) uint8, RGB.
        marked: The boxes with their colours and labels, in pixels of `image`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: {image.dtype} {image.shape}, not uint8 (H, W, 3); pass an RGB picture")
    height, width = image.shape[:2]
    canvas = _enlarge(image)
    scale = np.tile([canvas.shape[0] / height, canvas.shape[1] / width], 2)
    thickness = max(2, round(min(canvas.shape[:2]) / 270))
    if len(marked) >= _DENSE:
        thickness = max(1, thickness // 2)

    corners = [np.round(entry.box * scale).astype(int).tolist() for entry in marked]
    for entry, corner in zip(reversed(marked), reversed(corners), strict=True):
        _draw_frame(canvas, corner, entry.colour, thickness, entry.dashed)
    draw_labels(
        canvas,
        [
            Label(entry.label, entry.colour, corner)
            for entry, corner in zip(marked, corners, strict=True)
            if entry.label
        ],
    )
    return canvas


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Return a copy enlarged to a short side of `MIN_SHORT_SIDE`, but by no more than `MAX_ENLARGEMENT`."""
    height, width = image.shape[:2]
    factor = min(MIN_SHORT_SIDE / min(height, width), MAX_ENLARGEMENT)
    if factor <= 1:
        return image.copy()
    return cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_CUBIC)


def _draw_frame(canvas: np.ndarray, corners: Sequence[int], colour: Colour, thickness: int, dashed: bool) -> None:
    """Draw a frame into the canvas, with its lines inside the box.

    `corners` are y0, x0, y1, x1 in whole pixels; y1 and x1 are exclusive.  A box thinner than a line is widened to one.
    """
    y0, x0, y1, x1 = corners
    y1, x1 = max(y1, y0 + thickness), max(x1, x0 + thickness)
    dash = 4 * thickness
    for y in (y0, y1 - thickness):
        for low, high in _strokes(x0, x1, dash, dashed):
            fill(canvas, y, low, y + thickness, high, colour)
    for x in (x0, x1 - thickness):
        for low, high in _strokes(y0, y1, dash, dashed):
            fill(canvas, low, x, high, x + thickness, colour)


def _strokes(low: int, high: int, dash: int, dashed: bool) -> list[tuple[int, int]]:
    """Return the drawn parts of a line from `low` to `high`, as pairs of ends.

    Dashes and gaps have about the length `dash`.  A dashed line starts and ends with a dash.
    """
    if not dashed:
        return [(low, high)]
    pieces = max(1, round((high - low) / dash / 2) * 2 - 1)
    ends = np.round(np.linspace(low, high, pieces + 1)).astype(int).tolist()
    return list(zip(ends[0::2], ends[1::2], strict=True))


def _class_name(class_index: int, class_names: Sequence[str]) -> str:
    """Return the name of a class on one line.  Raises ValueError for background, padding or an unknown class."""
    if not 1 <= class_index <= len(class_names):
        raise ValueError(f"classes: {class_index} is not in 1..{len(class_names)}; remove padding and background")
    return " ".join(class_names[class_index - 1].split())


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.all(np.isfinite(boxes)):
        raise ValueError("boxes: a corner is NaN or infinite; remove boxes that are not finite")
    return boxes
