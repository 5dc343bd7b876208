"""Drawn scenes: shapes of six classes over a textured background, with exact boxes.

The class is told by the outline alone: colour, contrast, size, aspect ratio and texture say nothing of it.  Shapes
overlap one another and reach over the picture's edge, as objects of photographs do.

Axes: H W pixels of the picture, N objects.  Lengths of shapes are given for a picture whose shorter side is 240 pixels,
and grow with it.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

CLASS_NAMES = ("cross", "ellipse", "rectangle", "ring", "star", "triangle")
DIFFICULT_BELOW = 0.35  # an object of which less than this fraction is seen is marked difficult
COVERED = 0.5  # a pixel belongs to a shape that covers this fraction of it

_SUPERSAMPLING = 4  # shapes are filled on a grid this much finer, and averaged: smooth edges
_REFERENCE_SIDE = 240
_EMPTY_FRACTION = 0.03  # of the pictures
_MAX_OBJECTS = 6
_SIDE_RANGE = (30.0, 150.0)
_MEAN_SIDE_RANGE = (38.0, 125.0)  # of the geometric mean of height and width
_MAX_ASPECT = 2.0  # height / width, and width / height
_MAX_TILT = math.radians(20)
_CROWDED_FRACTION = 0.12  # of the objects: these are laid over another, which may then hardly be seen
_REACHING_OVER_FRACTION = 0.2  # of the objects: these may reach over the picture's edge
_MAX_COVER = 0.3  # of the smaller box, by another box, for the rest
_PLACEMENTS = 20  # tried for each object before it is left out
_MIN_CONTRAST = 45.0  # between a shape's colour and the mean of what it covers, largest channel, of 255


class Scene(NamedTuple):
    """One drawn picture and its objects."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (N, 4) int32, xmin ymin xmax ymax as VOC writes them: pixels, 1-based, inclusive ends
    classes: np.ndarray  # (N,) int32, index into CLASS_NAMES
    difficult: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool, reaches over the picture's edge
    masks: np.ndarray  # (N, H, W) bool, each shape's own pixels inside the picture, what covers it not taken off


class _Shape(NamedTuple):
    """Where and what to draw."""

    class_index: int
    contours: list[np.ndarray]  # each (points, 2) float64, x y in pixels; a second contour is a hole


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """Draw one scene of `height` x `width` pixels; the same generator state gives the same scene."""
    background = _draw_background(rng, height, width)
    shapes = _place_shapes(rng, height, width)
    image, alphas = background, []
    for shape in shapes:
        alpha, outline = _rasterise(rng, shape.contours, height, width)
        image = _paint(rng, image, alpha, outline)
        alphas.append(alpha)
    masks = np.array([alpha >= COVERED for alpha in alphas], bool).reshape(-1, height, width)
    fractions = _visible_fractions(masks)
    kept = fractions > 0  # one that is wholly covered, or outside the picture, is not in it
    boxes = np.array([_mask_box(mask) for mask in masks[kept]], np.int32).reshape(-1, 4)
    truncated = np.array([_leaves_picture(shape.contours[0], height, width) for shape in shapes], bool)
    classes = np.array([shape.class_index for shape in shapes], np.int32)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Scene(pixels, boxes, classes[kept], fractions[kept] < DIFFICULT_BELOW, truncated[kept], masks[kept])


def _mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """xmin ymin xmax ymax, 1-based with inclusive ends, of the pixels of a mask (H, W) that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return columns[0] + 1, rows[0] + 1, columns[-1] + 1, rows[-1] + 1


def _visible_fractions(masks: np.ndarray) -> np.ndarray:
    """(N,) fraction of each mask's pixels that no later mask covers; 0 for a mask without pixels."""
    fractions = np.zeros(len(masks))
    covered = np.zeros(masks.shape[1:], bool)
    for index in reversed(range(len(masks))):
        fractions[index] = (masks[index] & ~covered).sum() / max(masks[index].sum(), 1)
        covered |= masks[index]
    return fractions


def _leaves_picture(contour: np.ndarray, height: int, width: int) -> bool:
    return bool((contour < 0).any() or (contour > (width, height)).any())


# What is drawn where.


def _place_shapes(rng, height: int, width: int) -> list[_Shape]:
    """Choose classes, sizes and places, from the farthest to the nearest shape."""
    if rng.random() < _EMPTY_FRACTION:
        return []
    shapes, boxes = [], []
    for _ in range(rng.integers(1, _MAX_OBJECTS + 1)):
        class_index = int(rng.integers(len(CLASS_NAMES)))
        contours = _transform(rng, _unit_contours(rng, CLASS_NAMES[class_index]), min(height, width))
        crowded = rng.random() < _CROWDED_FRACTION
        half_extent = np.ptp(contours[0], axis=0) / 2
        for _ in range(_PLACEMENTS):
            # Of a shape that may reach over the picture's edge, at most a quarter of its height and width does.
            margin = half_extent / 2 if rng.random() < _REACHING_OVER_FRACTION else half_extent
            far = (width, height) - margin
            near, far = np.minimum(margin, far), np.maximum(margin, far)  # a shape may be larger than the picture
            centre = rng.uniform(near, far)
            if crowded and boxes:
                below = boxes[rng.integers(len(boxes))]
                centre = np.clip(rng.uniform(*np.split(below, 2)), near, far)
            box = np.concatenate([centre - half_extent, centre + half_extent])
            if crowded or all(_cover(box, other) <= _MAX_COVER for other in boxes):
                middle = (contours[0].min(axis=0) + contours[0].max(axis=0)) / 2
                shapes.append(_Shape(class_index, [contour - middle + centre for contour in contours]))
                boxes.append(box)
                break
    return shapes


def _cover(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over the smaller area of two boxes (4,), x y x y."""
    sides = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)
    return float(sides.prod() / min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()))


def _unit_contours(rng, class_name: str) -> list[np.ndarray]:
    """The outline of a class within -1..1, and its hole if it has one; each (points, 2), x y."""
    if class_name == "ellipse":
        return [_circle(1.0)]
    if class_name == "ring":
        return [_circle(1.0), _circle(rng.uniform(0.5, 0.65))]
    if class_name == "rectangle":
        return [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64)]
    if class_name == "triangle":
        return [np.array([(rng.uniform(-0.3, 0.3), -1), (1, 1), (-1, 1)], np.float64)]
    if class_name == "star":
        angles = np.arange(10) * math.pi / 5 - math.pi / 2
        radii = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.38, 0.48))
        return [np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)]
    a = rng.uniform(0.25, 0.38)  # half the width of a cross's arms
    quarter = np.array([(-a, -1), (a, -1), (a, -a)], np.float64)
    turns = [np.array([(c, -s), (s, c)], np.float64) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn.T for turn in turns])]


def _circle(radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _transform(rng, contours: list[np.ndarray], shorter_side: int) -> list[np.ndarray]:
    """Stretch unit contours to a random height and width in pixels, and tilt them."""
    scale = shorter_side / _REFERENCE_SIDE
    mean_side = math.exp(rng.uniform(*np.log(_MEAN_SIDE_RANGE)))
    aspect = math.exp(rng.uniform(-math.log(_MAX_ASPECT), math.log(_MAX_ASPECT)))
    sides = np.clip([mean_side / math.sqrt(aspect), mean_side * math.sqrt(aspect)], *_SIDE_RANGE) * scale
    tilt = rng.uniform(-_MAX_TILT, _MAX_TILT)
    rotation = np.array([(math.cos(tilt), -math.sin(tilt)), (math.sin(tilt), math.cos(tilt))])
    return [(contour * sides / 2) @ rotation.T for contour in contours]


# How it is drawn.


def _rasterise(rng, contours: list[np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage in 0..1 of each pixel by the shape, and by a line along its inner edge; each (H, W) float32."""
    fine_size = (height * _SUPERSAMPLING, width * _SUPERSAMPLING)
    # A pixel's centre is at its index in OpenCV, and half a pixel further in continuous corners.
    points = [np.rint(contour * _SUPERSAMPLING - 0.5).astype(np.int32) for contour in contours]
    filled = np.zeros(fine_size, np.uint8)
    cv2.fillPoly(filled, points, 255)  # by the even-odd rule: the second contour is a hole
    line = np.zeros(fine_size, np.uint8)
    thickness = int(rng.integers(2, 7)) * _SUPERSAMPLING  # half of it lies inside
    cv2.polylines(line, points, True, 255, thickness)
    line &= filled
    return tuple(
        cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for mask in (filled, line)
    )


def _paint(rng, image: np.ndarray, alpha: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Lay a shape of a random colour over the picture (H, W, 3) float32, 0..255; gives a new picture."""
    height, width = alpha.shape
    underneath = (image * alpha[..., None]).sum(axis=(0, 1)) / max(alpha.sum(), 1.0)
    colour = _contrasting_colour(rng, underneath)
    surface = colour + _gradient(rng, height, width)[..., None] * rng.uniform(0, 30)
    surface = surface + _noise(rng, height, width, cell=int(rng.choice([2, 6, 16])))[..., None] * rng.uniform(2, 10)
    if rng.random() < 0.5:
        edge_colour = colour * rng.uniform(0.3, 0.7) if rng.random() < 0.6 else 255 - (255 - colour) * 0.5
        surface = surface + outline[..., None] * (edge_colour - surface)
    return image + alpha[..., None] * (np.clip(surface, 0, 255) - image)


def _contrasting_colour(rng, underneath: np.ndarray) -> np.ndarray:
    """A random colour (3,) that stands out from the mean colour (3,) it covers, by little or by much."""
    colour = rng.uniform(15, 240, 3)
    while np.abs(colour - underneath).max() < _MIN_CONTRAST:
        colour = rng.uniform(15, 240, 3)
    return colour.astype(np.float32)


def _draw_background(rng, height: int, width: int) -> np.ndarray:
    """A colour gradient under noise of several scales, in half of the pictures with stripes; (H, W, 3) float32."""
    first, second = rng.uniform(30, 225, (2, 3)).astype(np.float32)
    blend = (_gradient(rng, height, width)[..., None] + 1) / 2
    image = first + (second - first) * blend * rng.uniform(0.2, 1.0)
    for cell, strength in ((1, 5.0), (4, 8.0), (16, 12.0), (64, 20.0)):
        tint = rng.uniform(0.5, 1.0, 3).astype(np.float32)
        image = image + _noise(rng, height, width, cell)[..., None] * tint * rng.uniform(0.2, 1.0) * strength
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, math.pi), rng.uniform(8, 60) * min(height, width) / _REFERENCE_SIDE
        wave = np.sin(_positions(height, width, angle) * (2 * math.pi / period) + rng.uniform(0, 2 * math.pi))
        tint = rng.uniform(-1.0, 1.0, 3).astype(np.float32)
        image = image + np.clip(wave * rng.uniform(1, 4), -1, 1)[..., None] * tint * rng.uniform(5, 28)
    return np.clip(image, 0, 255).astype(np.float32)


def _positions(height: int, width: int, angle: float) -> np.ndarray:
    """(H, W) float32: each pixel's distance in pixels along a direction."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))


def _gradient(rng, height: int, width: int) -> np.ndarray:
    """(H, W) float32 that runs from -1 to 1 in a random direction."""
    positions = _positions(height, width, rng.uniform(0, 2 * math.pi))
    low, high = positions.min(), positions.max()
    return (positions - low) / max(high - low, 1.0) * 2 - 1


def _noise(rng, height: int, width: int, cell: int) -> np.ndarray:
    """(H, W) float32 of smooth noise of deviation about 1, its blobs about `cell` pixels large."""
    grid = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
