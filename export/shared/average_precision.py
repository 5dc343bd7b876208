"""The mAP of a detector and of its export on a data set."""

import argparse
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from export.shared.parity import PictureDetections
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.voc_ap import evaluate_voc
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN

DEFAULT_SPLIT = "test"


def read_dataset(options: argparse.Namespace, model: FasterRCNN) -> Dataset | None:
    """The data set of `--data` and `--split` with the classes of the model, or None without `--data`.

    Its boxes refer to the pictures that the model sees, turned or as stored.  Raises InputError if it cannot be read,
    or if there is a split without data.
    """
    if not options.data:
        if options.split is not None:
            raise InputError(f"--split {options.split}", "given without --data", "give --data as well")
        return None
    spec = DataSpec(data=options.data, class_names=tuple(model.class_names))
    return load_dataset(spec, options.split or DEFAULT_SPLIT, model.config.image.exif_of_model)


def mean_average_precision(detect: Callable[[np.ndarray], PictureDetections], dataset: Dataset, title: str) -> float:
    """The 11-point mAP at IoU 0.5 of a detector on a data set.

    Args:
      detect: takes one (H, W, 3) uint8 RGB picture.
      dataset: its pictures are read again from their files.
      title: stands before the progress bar.

    Raises InputError for a picture that cannot be read.
    """
    records = []
    for example in tqdm(dataset.examples, desc=title, unit="picture", mininterval=1.0, dynamic_ncols=True):
        boxes, classes, scores = detect(read_example(example))
        pixels = boxes * np.tile([example.height, example.width], 2)
        records.append(ImageDetections(example.image_id, pixels, classes, scores))
    return evaluate_voc(dataset.examples, records, dataset.class_names, 0.5).mean_11point
