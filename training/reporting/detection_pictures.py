"""Pictures of detections, one PNG file for each image."""

import itertools
import pathlib
from collections.abc import Sequence

from PIL import Image

from keras_frcnn.api.drawing import SHOWN_SCORE, draw_detections
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.facts.files import write_atomically

PICTURES = 12  # images that are drawn
_LONGEST_NAME = 50  # characters of an image id in the name of a file, of which file systems allow 255 bytes


def write_pictures(
    dataset: Dataset, detections: Sequence[ImageDetections], directory: pathlib.Path, count: int = PICTURES
) -> list[pathlib.Path]:
    """Draw the detections with a score of at least `SHOWN_SCORE` on the first `count` images; returns the files.

    `detections` has the detections of each image, in the order of `dataset`, boxes in pixels of the images.
    Raises InputError for an image that cannot be read, and OSError for a file that cannot be written.
    """
    paths: list[pathlib.Path] = []
    for example, record in list(zip(dataset.examples, detections, strict=True))[:count]:
        image = read_example(example)
        shown = record.scores >= SHOWN_SCORE
        drawn = draw_detections(
            image, record.boxes[shown], record.classes[shown], record.scores[shown], dataset.class_names
        )
        name = example.image_id.replace("/", "_")[-_LONGEST_NAME:]
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        path = next(path for path in (directory / f"{one}.png" for one in names) if path not in paths)
        write_atomically(path, Image.fromarray(drawn).save)
        paths.append(path)
    return paths
