"""Stored detections of a data set."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.facts.structures import Batch, Tensor
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import detect_in_batch
from training.run.stores.rows import is_complete, load_rows, row_paths, store_rows


def detect_dataset(
    model: FasterRCNN,
    dataset: Dataset,
    directory: str | pathlib.Path,
    title: str,
    proposal_directory: str | pathlib.Path | None = None,
    feature_files: FeatureFiles | None = None,
) -> list[ImageDetections]:
    """Detections in each image of `dataset`, in its order, boxes in pixels of the images before resizing.

    They are stored in `directory`; those that are there already are not computed again.

    Args:
      model: the detector.
      dataset: the images.
      directory: where detections are stored.
      title: shown at the progress bar.
      proposal_directory: stored proposals to detect in; without it, the model makes its own.
      feature_files: backbone features that need not be computed again.

    Raises:
      InputError: `directory` has detections of another format.
    """
    paths = None if proposal_directory is None else row_paths(proposal_directory, dataset)

    def detect(batch: Batch) -> tuple[Tensor, Tensor]:
        detections = detect_in_batch(model, batch, with_stored_proposals=paths is not None)
        classes = tf.cast(detections.classes, tf.float32)
        rows = tf.concat([detections.boxes, classes[..., None], detections.scores[..., None]], axis=-1)
        return rows, detections.valid

    if not is_complete(directory, dataset):
        store_rows(
            directory, detect, dataset, model.config.image, title, proposal_paths=paths, feature_files=feature_files
        )
    return load_detections(directory, dataset)


def load_detections(directory: str | pathlib.Path, dataset: Dataset) -> list[ImageDetections]:
    """The stored detections in each image of `dataset`, in its order."""
    return [
        ImageDetections(example.image_id, rows[:, :4], rows[:, 4].astype(np.int32), rows[:, 5])
        for example, rows in zip(dataset.examples, load_rows(directory, dataset), strict=True)
    ]
