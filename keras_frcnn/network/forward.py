"""The forward pass, written once: features -> proposals -> detections (sections 3.1 to 3.3).

Training, evaluation, detection and both exports call the functions below.  They work on tensors and, while the
functional model of `model.py` is built, on Keras' symbolic tensors.

Axes: B images, h w feature cells, P proposals, R regions, C classes with background.  Boxes are yxyx, in pixels of the
resized images.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.structures import Detections, HeadOutput, Proposals, RPNOutput, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.network.backbone import STRIDE, Backbone
from keras_frcnn.network.head import Head
from keras_frcnn.network.roi_pooling import roi_pool
from keras_frcnn.network.rpn import RPN
from keras_frcnn.rules.detections import make_detections
from keras_frcnn.rules.proposals import make_proposals


class Parts(NamedTuple):
    """What the forward pass consists of.  An export replaces single parts with `_replace`."""

    config: DetectorConfig
    backbone: Backbone
    rpn: RPN
    head: Callable[..., HeadOutput]
    pool: Callable[..., Tensor] = roi_pool  # one of the two equal forms of RoI pooling in `roi_pooling`


class Counts(NamedTuple):
    """How many proposals of an image are kept."""

    before_nms: int  # 0: all
    after_nms: int


def detection_counts(config: DetectorConfig) -> Counts:
    """For detection: 6000 before NMS and 300 after it by default (section 3.3)."""
    return Counts(config.test.pre_nms_topk, config.test.post_nms_topk)


def detector_training_counts(config: DetectorConfig) -> Counts:
    """For the proposals that a detector trains on: all before NMS and 2000 after it by default."""
    return Counts(config.rpn.train_pre_nms_topk, config.rpn.train_post_nms_topk)


def joint_training_counts(config: DetectorConfig) -> Counts:
    """For approximate joint training: 12000 before NMS and 2000 after it by default, as released."""
    return Counts(config.rpn.joint_pre_nms_topk, config.rpn.train_post_nms_topk)


def grid_anchors(features: Tensor, config: DetectorConfig) -> Tensor:
    """All anchors of a feature map (B, h, w, c): (h * w * k, 4) in pixels of the (padded) images."""
    height, width = keras.ops.shape(features)[1:3]
    return anchor_rules.tile_anchors(config.anchors.scales, config.anchors.ratios, height, width, STRIDE)


def propose(
    parts: Parts, features: Tensor, image_sizes: Tensor, counts: Counts, rpn_output: RPNOutput | None = None
) -> Proposals:
    """The proposals of each image, best first: `counts.after_nms` rows.

    features (B, h, w, c); image_sizes (B, 2).  A caller that has the RPN's output already passes it as `rpn_output`.
    """
    output = parts.rpn(features) if rpn_output is None else rpn_output
    return _apply("proposals", _proposals, output, features, image_sizes, config=parts.config, counts=counts)


def pool_regions(parts: Parts, features: Tensor, boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """The features of the regions `boxes` (B, R, 4), as the head takes them: (B, R, n, n, c), n = `head.pool_size`."""
    pool_size = parts.config.head.pool_size
    return _apply("roi_pooling", parts.pool, features, boxes, image_sizes, pool_size=pool_size, stride=STRIDE)


def classify(
    parts: Parts, features: Tensor, boxes: Tensor, image_sizes: Tensor, dropout_seeds: Tensor | None = None
) -> HeadOutput:
    """Class logits and box deltas of the regions `boxes` (B, R, 4).

    `dropout_seeds` (B, 2) int32 turns dropout on and belongs to training alone.
    """
    pooled = pool_regions(parts, features, boxes, image_sizes)
    return parts.head(pooled) if dropout_seeds is None else parts.head(pooled, dropout_seeds)


def detect(parts: Parts, features: Tensor, image_sizes: Tensor, proposals: Proposals | None = None) -> Detections:
    """The detections in each image, in pixels of the resized images, best first.

    The regions are `proposals` or, without them, what `propose` gives with `detection_counts`.
    """
    if proposals is None:
        proposals = propose(parts, features, image_sizes, detection_counts(parts.config))
    output = classify(parts, features, proposals.boxes, image_sizes)
    return _apply("detections", _detections, output, proposals, image_sizes, config=parts.config)


def _proposals(
    output: RPNOutput, features: Tensor, image_sizes: Tensor, config: DetectorConfig, counts: Counts
) -> Proposals:
    anchors = grid_anchors(features, config)
    return make_proposals(
        output,
        anchors,
        anchor_rules.on_feature_cells(anchors, image_sizes, STRIDE),
        image_sizes,
        min_size=config.rpn.min_size,
        pre_nms_topk=counts.before_nms,
        post_nms_topk=counts.after_nms,
        iou_threshold=config.rpn.nms_iou,
    )


def _detections(output: HeadOutput, proposals: Proposals, image_sizes: Tensor, config: DetectorConfig) -> Detections:
    return make_detections(
        output,
        proposals,
        image_sizes,
        delta_std=config.head.delta_std,
        score_threshold=config.test.score_threshold,
        iou_threshold=config.test.nms_iou,
        max_detections=config.test.max_detections,
    )


class _Rule(keras.layers.Layer):
    """A rule without weights as a node of the functional graph; float32 in any precision."""

    def __init__(self, function: Callable, name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def _apply(name: str, function: Callable, *args, **kwargs):
    """`function(*args, **kwargs)`; with symbolic tensors, a node `name` of the functional graph that computes it."""
    symbolic = any(keras.utils.is_keras_tensor(value) for value in keras.tree.flatten(args))
    return (_Rule(function, name) if symbolic else function)(*args, **kwargs)
