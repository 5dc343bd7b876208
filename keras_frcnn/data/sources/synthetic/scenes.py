"""Drawn scenes: shapes of six classes on a textured background, with exact boxes.

Only the outline depends on the class: colour, contrast, size, aspect ratio and texture are random.  Shapes overlap each
other and extend beyond the edge of the picture, like objects in photographs.

Axes: H W pixels of the picture, N objects.  Lengths of shapes are for a picture with a shorter side of 240 pixels; they
scale with that side.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

CLASS_NAMES = ("cross", "ellipse", "rectangle", "ring", "star", "triangle")
DIFFICULT_BELOW = 0.35  # an object is difficult if less than this fraction of it is visible
COVERED = 0.5  # a pixel belongs to a shape that covers at least this fraction of it

_SUPERSAMPLING = 4  # shapes are filled on a grid finer by this factor and then averaged, for smooth edges
_REFERENCE_SIDE = 240
_EMPTY_FRACTION = 0.03  # fraction of the pictures without objects
_MAX_OBJECTS = 6  # in one picture
_SIDE_RANGE = (30.0, 150.0)  # height and width of a shape, pixels
_MEAN_SIDE_RANGE = (38.0, 125.0)  # geometric mean of height and width, pixels
_MAX_ASPECT = 2.0  # of height / width and of width / height
_MAX_TILT = math.radians(20)
_CROWDED_FRACTION = 0.12  # fraction of the objects placed on another object, most of which they may hide
_REACHING_OVER_FRACTION = 0.2  # fraction of the objects that may extend beyond the edge of the picture
_MAX_COVER = 0.3  # for objects that are not crowded: the most of the smaller of two boxes that the other covers
_PLACEMENTS = 20  # attempts to place an object; after that it is left out
_MIN_CONTRAST = 45.0  # of 255: largest channel difference between a shape's colour and the mean of what it covers


class Scene(NamedTuple):
    """One drawn picture and its objects."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (N, 4) int32, xmin ymin xmax ymax as in VOC files: pixels, 1-based, inclusive ends
    classes: np.ndarray  # (N,) int32, index into CLASS_NAMES
    difficult: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool, extends beyond the edge of the picture
    masks: np.ndarray  # (N, H, W) bool, all pixels of each shape inside the picture, even if another shape covers them


class _Shape(NamedTuple):
    """What to draw, and where."""

    class_index: int
    contours: list[np.ndarray]  # each (points, 2) float64, x y in pixels; the second one, if any, is a hole


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """Draw one scene.

    Args:
      rng: the only source of randomness; the same state gives the same scene.
      height, width: size of the picture in pixels.
    """
    background = _draw_background(rng, height, width)
    shapes = _place_shapes(rng, height, width)
    image, alphas = background, []
    for shape in shapes:
        alpha, outline = _rasterise(rng, shape.contours, height, width)
        image = _paint(rng, image, alpha, outline)
        alphas.append(alpha)
    masks = np.array([alpha >= COVERED for alpha in alphas], bool).reshape(-1, height, width)
    fractions = _visible_fractions(masks)
    kept = fractions > 0  # leave out objects that are completely covered or outside the picture
    boxes = np.array([_mask_box(mask) for mask in masks[kept]], np.int32).reshape(-1, 4)
    truncated = np.array([_leaves_picture(shape.contours[0], height, width) for shape in shapes], bool)
    classes = np.array([shape.class_index for shape in shapes], np.int32)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Scene(pixels, boxes, classes[kept], fractions[kept] < DIFFICULT_BELOW, truncated[kept], masks[kept])


def _mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box of a non-empty mask (H, W): xmin ymin xmax ymax, pixels, 1-based with inclusive ends."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return columns[0] + 1, rows[0] + 1, columns[-1] + 1, rows[-1] + 1


def _visible_fractions(masks: np.ndarray) -> np.ndarray:
    """The fraction of each mask (N, H, W) that no later mask covers: (N,), 0 for a mask without pixels."""
    fractions = np.zeros(len(masks))
    covered = np.zeros(masks.shape[1:], bool)
    for index in reversed(range(len(masks))):
        fractions[index] = (masks[index] & ~covered).sum() / max(masks[index].sum(), 1)
        covered |= masks[index]
    return fractions


def _leaves_picture(contour: np.ndarray, height: int, width: int) -> bool:
    """Whether a contour (points, 2), x y in pixels, extends beyond the edge of the picture."""
    return bool((contour < 0).any() or (contour > (width, height)).any())


# Choice of the shapes and their places.


def _place_shapes(rng: np.random.Generator, height: int, width: int) -> list[_Shape]:
    """Choose the classes, sizes and places of the shapes; each shape covers those before it."""
    if rng.random() < _EMPTY_FRACTION:
        return []
    shapes: list[_Shape] = []
    boxes: list[np.ndarray] = []  # (4,) x y x y of each shape, before it is cut off at the edge
    for _ in range(rng.integers(1, _MAX_OBJECTS + 1)):
        class_index = int(rng.integers(len(CLASS_NAMES)))
        contours = _transform(rng, _unit_contours(rng, CLASS_NAMES[class_index]), min(height, width))
        crowded = rng.random() < _CROWDED_FRACTION
        half_extent = np.ptp(contours[0], axis=0) / 2
        for _ in range(_PLACEMENTS):
            # At most a quarter of a shape's height and width may extend beyond the edge.
            margin = half_extent / 2 if rng.random() < _REACHING_OVER_FRACTION else half_extent
            far = (width, height) - margin
            # For a shape larger than the picture, margin > far.
            near, far = np.minimum(margin, far), np.maximum(margin, far)
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
    """Intersection of two boxes (4,), x y x y, divided by the smaller of their areas."""
    sides = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)
    return float(sides.prod() / min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()))


def _unit_contours(rng: np.random.Generator, class_name: str) -> list[np.ndarray]:
    """The outline of a class, and its hole if it has one: each (points, 2), x y in -1..1."""
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
    a = rng.uniform(0.25, 0.38)  # half the width of the arms of a cross
    quarter = np.array([(-a, -1), (a, -1), (a, -a)], np.float64)
    turns = [np.array([(c, -s), (s, c)], np.float64) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn.T for turn in turns])]


def _circle(radius: float) -> np.ndarray:
    """A circle around the origin, as a polygon (96, 2), x y."""
    angles = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _transform(rng: np.random.Generator, contours: list[np.ndarray], shorter_side: int) -> list[np.ndarray]:
    """Scale contours of `_unit_contours` to a random height and width in pixels, and tilt them."""
    scale = shorter_side / _REFERENCE_SIDE
    mean_side = math.exp(rng.uniform(*np.log(_MEAN_SIDE_RANGE)))
    aspect = math.exp(rng.uniform(-math.log(_MAX_ASPECT), math.log(_MAX_ASPECT)))
    sides = np.clip([mean_side / math.sqrt(aspect), mean_side * math.sqrt(aspect)], *_SIDE_RANGE) * scale
    tilt = rng.uniform(-_MAX_TILT, _MAX_TILT)
    rotation = np.array([(math.cos(tilt), -math.sin(tilt)), (math.sin(tilt), math.cos(tilt))])
    return [(contour * sides / 2) @ rotation.T for contour in contours]


# Drawing.


def _rasterise(
    rng: np.random.Generator, contours: list[np.ndarray], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The coverage of each pixel by the shape, and by a line along its inner edge: each (H, W) float32 in 0..1."""
    fine_size = (height * _SUPERSAMPLING, width * _SUPERSAMPLING)
    # In OpenCV a pixel's centre has the pixel's index as its coordinate; in continuous corners it lies 0.5 higher.
    points = [np.rint(contour * _SUPERSAMPLING - 0.5).astype(np.int32) for contour in contours]
    filled = np.zeros(fine_size, np.uint8)
    cv2.fillPoly(filled, points, 255)  # even-odd rule: the second contour becomes a hole
    line = np.zeros(fine_size, np.uint8)
    thickness = int(rng.integers(2, 7)) * _SUPERSAMPLING  # half of the line lies inside the shape
    cv2.polylines(line, points, True, 255, thickness)
    line &= filled
    coverage, outline = (
        cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for mask in (filled, line)
    )
    return coverage, outline


def _paint(rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Paint a shape in a random colour.

    Args:
      image: (H, W, 3) float32 in 0..255; it is not changed.
      alpha, outline: coverage by the shape and by its edge line, as in `_rasterise`.

    Returns:
      The painted picture, (H, W, 3) float32 in 0..255.
    """
    height, width = alpha.shape
    underneath = (image * alpha[..., None]).sum(axis=(0, 1)) / max(alpha.sum(), 1.0)
    colour = _contrasting_colour(rng, underneath)
    surface = colour + _gradient(rng, height, width)[..., None] * rng.uniform(0, 30)
    surface = surface + _noise(rng, height, width, cell=int(rng.choice([2, 6, 16])))[..., None] * rng.uniform(2, 10)
    if rng.random() < 0.5:
        edge_colour = colour * rng.uniform(0.3, 0.7) if rng.random() < 0.6 else 255 - (255 - colour) * 0.5
        surface = surface + outline[..., None] * (edge_colour - surface)
    return image + alpha[..., None] * (np.clip(surface, 0, 255) - image)


def _contrasting_colour(rng: np.random.Generator, underneath: np.ndarray) -> np.ndarray:
    """A random colour (3,) that differs by at least `_MIN_CONTRAST` from the mean colour (3,) it covers."""
    colour = rng.uniform(15, 240, 3)
    while np.abs(colour - underneath).max() < _MIN_CONTRAST:
        colour = rng.uniform(15, 240, 3)
    return colour.astype(np.float32)


def _draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A colour gradient with noise of several scales, and stripes in half of the pictures: (H, W, 3) float32."""
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
    """The coordinate of each pixel along a direction: (H, W) float32, pixels; `angle` is in radians."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A gradient from -1 to 1 in a random direction: (H, W) float32."""
    positions = _positions(height, width, rng.uniform(0, 2 * math.pi))
    low, high = positions.min(), positions.max()
    return (positions - low) / max(high - low, 1.0) * 2 - 1


def _noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise with a standard deviation of about 1 and blobs of about `cell` pixels: (H, W) float32."""
    grid = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
