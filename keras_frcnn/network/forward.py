"""The forward pass, written once: features -> proposals -> detections (sections 3.1 to 3.3).

Training, evaluation, detection and both exports call the functions below.  They work on tensors and, while the
functional model of `model.py` is built, on Keras' symbolic tensors.

Axes: B images, h w feature cells, P proposals, R regions, C classes with background.  Boxes are float32 in the
order y0, x0, y1, x1, in pixels of the resized images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.structures import Detections, HeadOutput, Proposals, RPNOutput, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.network.backbone import STRIDE, Backbone
from keras_frcnn.network.roi_pooling import roi_pool
from keras_frcnn.network.rpn import RPN
from keras_frcnn.rules.detections import make_detections
from keras_frcnn.rules.proposals import make_proposals


class Parts(NamedTuple):
    """The parts of the forward pass.  An export replaces single parts with `_replace`."""

    config: DetectorConfig
    backbone: Backbone
    rpn: RPN
    head: Callable[..., HeadOutput]
    pool: Callable[..., Tensor] = roi_pool  # or another function of `roi_pooling`, which gives the same result


class Counts(NamedTuple):
    """The highest number of proposals of an image to keep."""

    before_nms: int  # boxes that enter NMS; 0 sets no limit
    after_nms: int


def detection_counts(config: DetectorConfig) -> Counts:
    """Return the counts for detection; by default 6000 before NMS, as released, and 300 after it (section 3.3)."""
    return Counts(config.test.pre_nms_topk, config.test.post_nms_topk)


def detector_training_counts(config: DetectorConfig) -> Counts:
    """Return the counts for the proposals that a detector trains on; by default no limit before NMS and 2000 after it.

    2000 is from section 3.3.  The authors' alternating training sets no limit before NMS.
    """
    return Counts(config.rpn.train_pre_nms_topk, config.rpn.train_post_nms_topk)


def joint_training_counts(config: DetectorConfig) -> Counts:
    """Return the counts for approximate joint training; by default 12000 before NMS and 2000 after it, as released."""
    return Counts(config.rpn.joint_pre_nms_topk, config.rpn.train_post_nms_topk)


def grid_anchors(features: Tensor, config: DetectorConfig) -> Tensor:
    """Return all anchors of a feature map (B, h, w, c).

    Returns:
        (h * w * k, 4) float32 in pixels of the resized images.  Anchors on the padding are included.
    """
    height, width = keras.ops.shape(features)[1:3]
    anchors = config.anchors
    return anchor_rules.tile_anchors(anchors.scales, anchors.ratios, height, width, STRIDE, anchors.shapes)


def propose(
    parts: Parts, features: Tensor, image_sizes: Tensor, counts: Counts, rpn_output: RPNOutput | None = None
) -> Proposals:
    """Propose regions that may contain an object (sections 3.1 and 3.3).

    Args:
        parts: The parts of the detector.
        features: (B, h, w, c) of the backbone.
        image_sizes: (B, 2) int32, height and width in pixels of the resized images.
        counts: The highest number of proposals to keep.
        rpn_output: The RPN's output for `features`, if the caller has computed it already.

    Returns:
        Proposals with P = `counts.after_nms` rows, by descending score.
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
    """Classify regions and refine their boxes (Girshick 2015, section 2).

    Args:
        parts: The parts of the detector.
        features: (B, h, w, c) of the backbone.
        boxes: (B, R, 4), the regions.
        image_sizes: (B, 2) int32, height and width in pixels of the resized images.
        dropout_seeds: (B, 2) int32, one seed an image.  They turn dropout on, so only training passes them.

    Returns:
        The raw outputs of the head for the R regions.
    """
    pooled = pool_regions(parts, features, boxes, image_sizes)
    return parts.head(pooled) if dropout_seeds is None else parts.head(pooled, dropout_seeds)


def detect(parts: Parts, features: Tensor, image_sizes: Tensor, proposals: Proposals | None = None) -> Detections:
    """Detect the objects in each image.

    Args:
        parts: The parts of the detector.
        features: (B, h, w, c) of the backbone.
        image_sizes: (B, 2) int32, height and width in pixels of the resized images.
        proposals: The regions to classify; None calls `propose` with `detection_counts`.

    Returns:
        Detections in pixels of the resized images, by descending score.
    """
    if proposals is None:
        proposals = propose(parts, features, image_sizes, detection_counts(parts.config))
    output = classify(parts, features, proposals.boxes, image_sizes)
    return _apply("detections", _detections, output, proposals, image_sizes, config=parts.config)


def _proposals(
    output: RPNOutput, features: Tensor, image_sizes: Tensor, config: DetectorConfig, counts: Counts
) -> Proposals:
    """Call the rule `make_proposals` with the values of the configuration."""
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
    """Call the rule `make_detections` with the values of the configuration."""
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
    """A layer without weights that makes a rule a node of the functional model.  It is float32 in any precision."""

    def __init__(self, function: Callable[..., Any], name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _apply(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `function(*args, **kwargs)`; if `args` hold symbolic tensors, as a layer `name` of the functional model."""
    symbolic = any(keras.utils.is_keras_tensor(value) for value in keras.tree.flatten(args))
    return (_Rule(function, name) if symbolic else function)(*args, **kwargs)
