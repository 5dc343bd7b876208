"""The pictures on which an export is calibrated and compared."""

import argparse
from collections.abc import Iterable

import numpy as np

from keras_frcnn.api.pictures import Path, to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.data.sources.synthetic.scenes import draw_scene
from keras_frcnn.facts.config import ImageConfig

SYNTHETIC_COUNT = 4
SYNTHETIC_SIZE = (480, 640)  # height, width


def given_images(paths: Iterable[Path], config: ImageConfig) -> list[np.ndarray]:
    """Read picture files as the model of `config` sees them: (H, W, 3) uint8 RGB each.

    They are turned as their EXIF orientation says if the model applies it.  Raises InputError for a file that cannot
    be read.
    """
    return [to_pixels(path, Reading(config.applies_exif)) for path in paths]


def synthetic_images(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Draw `count` scenes of `size` (height, width): (H, W, 3) uint8 RGB each, the same in every call."""
    return [draw_scene(np.random.default_rng([0, index]), *size).image for index in range(count)]


def images_to_compare(options: argparse.Namespace, config: ImageConfig) -> list[np.ndarray]:
    """The pictures that the options of `options.add_parity_options` choose: those of `--images`, or drawn scenes."""
    if options.images:
        return given_images(options.images, config)
    return synthetic_images(SYNTHETIC_COUNT, SYNTHETIC_SIZE)
