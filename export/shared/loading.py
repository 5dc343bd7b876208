"""The detector that is exported: loaded from its file, with other thresholds, and in another precision."""

import argparse

from keras_frcnn.api.model_file import load_model, rebuilt
from keras_frcnn.network.model import FasterRCNN


def load_for_export(options: argparse.Namespace) -> FasterRCNN:
    """Load the detector `options.model` in float32, whatever precision it was trained in.

    `options.score_threshold`, `options.nms_iou` and `options.max_detections` replace those of the model unless they are
    None.  Raises InputError if there is no such model, or if one of these numbers is out of range.
    """
    model = load_model(options.model, options.score_threshold, options.nms_iou, options.max_detections)
    return rebuilt(model, model.config, "float32")


def in_precision(model: FasterRCNN, dtype: str) -> FasterRCNN:
    """The same detector with weights and layers in the Keras dtype policy `dtype`, e.g. "bfloat16"."""
    return rebuilt(model, model.config, dtype)
