"""The pictures on which an export is calibrated and compared."""

import argparse
from collections.abc import Iterable

import numpy as np

from keras_frcnn.api.pictures import Path, to_pixels
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.files import Reading, read_example
from keras_frcnn.data.sources.synthetic.scenes import draw_scene
from keras_frcnn.facts.config import ImageConfig

MOST_COMPARED = 8  # pictures of --calibrate or --data on which an export is compared
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


def images_to_compare(options: argparse.Namespace, config: ImageConfig, dataset: Dataset | None) -> list[np.ndarray]:
    """The pictures on which an export is compared: (H, W, 3) uint8 RGB each.

    They are those of `--images`, else the first of `--calibrate`, else the first of `dataset`, else drawn scenes.
    Raises InputError for a picture that cannot be read.
    """
    given = options.images or (options.calibrate or ())[:MOST_COMPARED]
    if given:
        return given_images(given, config)
    if dataset is not None and dataset.examples:
        return [read_example(example) for example in dataset.examples[:MOST_COMPARED]]
    return synthetic_images(SYNTHETIC_COUNT, SYNTHETIC_SIZE)
