"""Stored proposals: an RPN computes them once, and they stay fixed while a detector trains on them (section 3.2)."""

import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.evaluation.metrics.recall import COUNTS, RecallResult, proposal_recall
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.structures import Batch, Tensor
from keras_frcnn.geometry.boxes import flip_horizontally
from keras_frcnn.network.forward import Counts, detection_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import propose_in_batch
from training.run.stores.rows import load_rows, store_rows


def store_proposals(
    model: FasterRCNN,
    dataset: Dataset,
    directory: str | pathlib.Path,
    counts: Counts,
    title: str,
    feature_files: FeatureFiles | None = None,
    flipped: bool = False,
    only: Iterable[int] | None = None,
) -> None:
    """Store the proposals of every image that has no file in `directory` yet, or `only` of those with these indices.

    A row is a box and a score, best first.  Boxes are yxyx, in pixels of the image before resizing; the pipeline
    scales them to the resized image when it reads them.

    `title` is shown at the progress bar; `feature_files` has backbone features that need not be computed again.  With
    `flipped`, the network sees the flipped images; the boxes are flipped back, so that they have the same frame.
    """

    def propose(batch: Batch) -> tuple[Tensor, Tensor]:
        proposals = propose_in_batch(model, batch, counts)
        boxes = proposals.boxes
        if flipped:
            boxes = flip_horizontally(boxes, batch.original_sizes[:, 1, None])
        return tf.concat([boxes, proposals.scores[..., None]], axis=-1), proposals.valid

    store_rows(directory, propose, dataset, model.config.image, title, flipped, only, feature_files=feature_files)


def load_proposals(directory: str | pathlib.Path, dataset: Dataset, count: int) -> dict[str, np.ndarray]:
    """The best `count` proposals of each image: image id -> (P, 4) boxes, in pixels of the image before resizing."""
    stored = zip(dataset.examples, load_rows(directory, dataset), strict=True)
    return {example.image_id: rows[:count, :4] for example, rows in stored}


def measured_counts(config: DetectorConfig) -> Counts:
    """The proposals of the validation set: as many as a detector takes, at least those that recall is measured on."""
    counts = detection_counts(config)
    return counts._replace(after_nms=max(counts.after_nms, *COUNTS))


def measure_recall(directory: str | pathlib.Path, dataset: Dataset) -> RecallResult:
    """Recall of the proposals stored in `directory`."""
    stored = zip(dataset.examples, load_rows(directory, dataset), strict=True)
    boxes = {example.image_id: rows[:, :4] for example, rows in stored}
    return proposal_recall(dataset.examples, boxes, dataset.class_names)
