"""Faster R-CNN as one Keras functional model, and its forward pass, written once.

Training, evaluation, detection and export all go through `propose`, `classify` and `detect` below; the functional
graph of `FasterRCNN` is these three in a row.
"""

import pathlib
import zipfile

import keras

from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.network.backbone import STRIDE, Backbone
from keras_frcnn.facts.config import DetectorConfig, config_from_dict, config_to_dict
from keras_frcnn.rules.detections import make_detections
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.head import Head
from keras_frcnn.rules.proposals import make_proposals
from keras_frcnn.network.roi_pooling import roi_pool
from keras_frcnn.network.rpn import RPN
from keras_frcnn.facts.structures import Detections, HeadOutput, Proposals, RPNOutput


def grid_anchors(features, config: DetectorConfig):
    """All anchors of a feature map (B, h, w, c): (h * w * k, 4) in pixels of the (padded) images."""
    height, width = keras.ops.shape(features)[1:3]
    return anchor_rules.tile_anchors(config.anchors.scales, config.anchors.ratios, height, width, STRIDE)


def propose(
    output: RPNOutput, features, image_sizes, config: DetectorConfig, *, pre_nms_topk, post_nms_topk
) -> Proposals:
    """What the RPN proposes for each image: `post_nms_topk` rows, best first."""
    anchors = grid_anchors(features, config)
    return make_proposals(
        output,
        anchors,
        anchor_rules.on_feature_cells(anchors, image_sizes, STRIDE),
        image_sizes,
        min_size=config.rpn.min_size,
        pre_nms_topk=pre_nms_topk,
        post_nms_topk=post_nms_topk,
        iou_threshold=config.rpn.nms_iou,
    )


def classify(
    head: Head, features, boxes, image_sizes, config: DetectorConfig, dropout_seeds=None, pool=roi_pool
) -> HeadOutput:
    """What the detector head says of the regions `boxes` (B, R, 4); `dropout_seeds` (B, 2) in training only.

    `pool` is one of the two equal forms of RoI pooling in `roi_pooling`.
    """
    return head(pool(features, boxes, image_sizes, config.head.pool_size, STRIDE), dropout_seeds)


def detect(output: HeadOutput, proposals: Proposals, image_sizes, config: DetectorConfig) -> Detections:
    """Detections in pixels of the resized images."""
    return make_detections(
        output,
        proposals,
        image_sizes,
        delta_std=config.head.delta_std,
        score_threshold=config.test.score_threshold,
        iou_threshold=config.test.nms_iou,
        max_detections=config.test.max_detections,
    )


class _Stage(keras.layers.Layer):
    """A rule without weights as a node of the functional graph: calls `function`, in float32 in any precision."""

    def __init__(self, function, name):
        super().__init__(name=name, dtype="float32")
        self.function = function

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)


@keras.saving.register_keras_serializable("keras_frcnn")
class FasterRCNN(keras.Model):
    """(images (B, H, W, 3) normalised, image_sizes (B, 2) int32) -> Detections in pixels of the resized images.

    `config` and `class_names` (without background) travel with the saved model; `keras.saving.load_model` needs no
    custom_objects.  The parts that training works on are `backbone`, `rpn` and `head`.
    """

    def __init__(self, config: DetectorConfig, class_names, seed: int = 0, dtype="float32", name="faster_rcnn"):
        backbone = Backbone(seed=seed, name="backbone", dtype=dtype)
        anchors_per_cell = len(config.anchors.scales) * len(config.anchors.ratios)
        rpn = RPN(anchors_per_cell, config.rpn.channels, seed=seed, name="rpn", dtype=dtype)
        head = Head(
            len(class_names) + 1, config.head.fc_units, config.head.dropout, seed=seed, name="head", dtype=dtype
        )

        test = config.test
        images = keras.Input((None, None, 3), name="images")
        image_sizes = keras.Input((2,), dtype="int32", name="image_sizes")
        features = backbone(images, image_sizes)
        proposals = _Stage(propose, name="proposals")(
            rpn(features),
            features,
            image_sizes,
            config=config,
            pre_nms_topk=test.pre_nms_topk,
            post_nms_topk=test.post_nms_topk,
        )
        pooled = _Stage(roi_pool, name="roi_pooling")(
            features, proposals.boxes, image_sizes, pool_size=config.head.pool_size, stride=STRIDE
        )
        detections = _Stage(detect, name="detections")(head(pooled), proposals, image_sizes, config=config)

        super().__init__(inputs=(images, image_sizes), outputs=detections, name=name)
        self.backbone, self.rpn, self.head = backbone, rpn, head
        self.config, self.class_names, self.seed, self.precision = config, tuple(class_names), seed, dtype

    def get_config(self):
        return {
            "config": config_to_dict(self.config),
            "class_names": list(self.class_names),
            "seed": self.seed,
            "dtype": self.precision,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "config": config_from_dict(config["config"])})


def load_model(path) -> FasterRCNN:
    """Load a saved detector: a `.keras` file, or a run folder that holds `model.keras`.

    Raises InputError where there is none, or where the file is not a detector of this project.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        raise InputError(path, "no such model file", "give a run folder whose training has finished or a .keras file")
    if not zipfile.is_zipfile(path):
        raise InputError(path, "not a .keras file", "give the model.keras of a run folder")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            path, f"not a readable model ({error})"[:300], "give the model.keras of a run folder"
        ) from error
    if not isinstance(model, FasterRCNN):
        raise InputError(
            path, f"holds a {type(model).__name__}, not a FasterRCNN", "give the model.keras of a run folder"
        )
    return model
