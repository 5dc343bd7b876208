"""Pictures of detections, one PNG file for each image."""

import pathlib
from collections.abc import Sequence

import cv2

from keras_frcnn.api.drawing import SHOWN_SCORE, draw_detections
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.evaluation.detections.record import ImageDetections


def write_pictures(
    dataset: Dataset, detections: Sequence[ImageDetections], directory: pathlib.Path, count: int
) -> list[pathlib.Path]:
    """Draw the detections with a score of at least `SHOWN_SCORE` on the first `count` images; returns the files.

    `detections` has the detections of each image, in the order of `dataset`, boxes in pixels of the images.
    Raises InputError for an image that cannot be read.
    """
    paths = []
    for example, record in list(zip(dataset.examples, detections, strict=True))[:count]:
        image = read_example(example)
        shown = record.scores >= SHOWN_SCORE
        drawn = draw_detections(
            image, record.boxes[shown], record.classes[shown], record.scores[shown], dataset.class_names
        )
        path = directory / f"{example.image_id.replace('/', '_')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), drawn[..., ::-1])
        paths.append(path)
    return paths
