"""Proposals: made once by an RPN, fixed while a detector trains (section 3.2)."""

import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stored_features import FeatureFiles
from keras_frcnn.network.forward import Counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import propose_in_batch
from training.stores.rows import store_rows


def store_proposals(
    model: FasterRCNN,
    dataset: Dataset,
    directory,
    counts: Counts,
    title: str,
    feature_files: FeatureFiles | None = None,
):
    """Store the proposals of every picture of `dataset` in `directory` as rows of a box and a score, best first.

    Boxes are yxyx, in pixels of the stored picture, as detections are: the pipeline scales them as it reads them.
    """

    def run(batch):
        proposals = propose_in_batch(model, batch, counts)
        return tf.concat([proposals.boxes, proposals.scores[..., None]], axis=-1), proposals.valid

    store_rows(directory, run, dataset, model.config.image, title, feature_files=feature_files)
