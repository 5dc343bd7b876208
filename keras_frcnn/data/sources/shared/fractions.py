"""Boxes in fractions of the picture's sides, as YOLO, TFRecord and TFDS data sets have them."""

import numpy as np

# Boxes in fractions of a side are rounded to this share of a pixel.  It undoes the rounding of fractions in float32 and
# in six decimals, and is less than the rounding of a float32 fraction of 8,192 pixels.
_PER_PIXEL = 1024


def to_pixels(corners: tuple[float, float, float, float], height: int, width: int) -> tuple[float, float, float, float]:
    """Corners in fractions of the sides as pixels, rounded as by `rounded`."""
    y0, x0, y1, x1 = corners
    y0, x0, y1, x1 = rounded(np.array([y0 * height, x0 * width, y1 * height, x1 * width], np.float64)).tolist()
    return y0, x0, y1, x1


def rounded(pixels: np.ndarray) -> np.ndarray:
    """Corners in pixels (...) float64, rounded to 1/1024 pixel: what remains of them in fractions of the sides."""
    return np.round(pixels * _PER_PIXEL) / _PER_PIXEL
