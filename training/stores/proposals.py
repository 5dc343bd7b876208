"""Proposals: made once by an RPN, fixed while a detector trains (section 3.2)."""

import tensorflow as tf

from keras_frcnn.geometry.boxes import to_original_pixels
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stored_features import FeatureFiles
from keras_frcnn.network.model import FasterRCNN, propose
from training.stores.rows import store_rows
from training.engine.objectives import fixed_features


def make_proposals(
    model: FasterRCNN,
    dataset: Dataset,
    directory,
    pre_nms_topk: int,
    post_nms_topk: int,
    title: str,
    feature_files: FeatureFiles | None = None,
):
    """Store the proposals of every picture of `dataset` in `directory` as rows of a box and a score, best first.

    Boxes are yxyx, in pixels of the stored picture, as detections are: the pipeline scales them as it reads them.
    """

    def run(batch):
        features = fixed_features(model, batch)
        topk = {"pre_nms_topk": pre_nms_topk, "post_nms_topk": post_nms_topk}
        proposals = propose(model.rpn(features), features, batch.image_sizes, model.config, **topk)
        boxes = to_original_pixels(proposals.boxes, batch.image_sizes, batch.original_sizes)
        return tf.concat([boxes, proposals.scores[..., None]], axis=-1), proposals.valid

    store_rows(directory, run, dataset, model.config.image, title, feature_files=feature_files)
