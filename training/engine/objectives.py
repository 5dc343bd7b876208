"""The losses of a mini-batch: (model, batch, features) -> sums of losses, and the counts that divide them.

Sampling and targets do not depend on trained variables, so no gradient flows through them.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.facts.structures import Batch, Proposals, RPNOutput, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.network import forward
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.rules import targets
from keras_frcnn.rules.losses import head_loss_sums, rpn_loss_sums


class Losses(NamedTuple):
    """The losses of a batch by name; all values are () float32."""

    sums: dict[str, Tensor]  # each loss, summed over the sampled anchors or RoIs
    counts: dict[str, Tensor]  # for each loss, the number of sampled anchors or RoIs
    samples: dict[str, Tensor]  # the number of positive anchors and of foreground RoIs among them


LossFunction = Callable[[FasterRCNN, Batch, Tensor], Losses]


def losses_of(parts: Collection[str]) -> LossFunction:
    """The losses that train these parts of the model: those of the RPN, of the head, or both (joint training)."""
    if "rpn" in parts and "head" in parts:
        return joint_losses
    return rpn_losses if "rpn" in parts else head_losses


def rpn_losses(model: FasterRCNN, batch: Batch, features: Tensor) -> Losses:
    """RPN losses over the sampled anchors of a batch, given its backbone features."""
    return _rpn_losses(model, batch, features, model.rpn(features))


def head_losses(model: FasterRCNN, batch: Batch, features: Tensor) -> Losses:
    """Detector losses over RoIs sampled from the batch's stored proposals, given its backbone features."""
    return _head_losses(model, batch, features, batch.proposals)


def joint_losses(model: FasterRCNN, batch: Batch, features: Tensor) -> Losses:
    """The losses of both networks; the detector takes the RPN's current proposals (approximate joint training).

    The gradient with respect to the proposals' coordinates is left out (section 3.2).
    """
    output = model.rpn(features)
    proposals = forward.propose(
        model.parts,
        tf.stop_gradient(features),
        batch.image_sizes,
        forward.joint_training_counts(model.config),
        RPNOutput(*map(tf.stop_gradient, output)),
    )
    of_rpn = _rpn_losses(model, batch, features, output)
    of_head = _head_losses(model, batch, features, proposals)
    return Losses(*(one | other for one, other in zip(of_rpn, of_head, strict=True)))


def _rpn_losses(model: FasterRCNN, batch: Batch, features: Tensor, output: RPNOutput) -> Losses:
    config, anchors = model.config.rpn, model.config.anchors
    height, width = tf.unstack(tf.shape(features)[1:3])
    rpn_targets = targets.rpn_targets(
        tf.reshape(forward.grid_anchors(features, model.config), [height, width, model.rpn.anchors_per_cell, 4]),
        anchor_rules.base_areas(anchors.scales, anchors.ratios, anchors.shapes),
        batch.image_sizes,
        batch.ground_truth,
        batch.seeds,
        stride=STRIDE,
        widest=model.config.image.long_side // STRIDE,
        positive_iou=config.positive_iou,
        negative_iou=config.negative_iou,
        batch_size=config.batch_size,
        positive_fraction=config.positive_fraction,
        balanced=config.balanced_positives,
    )
    sums, count = rpn_loss_sums(output, rpn_targets, config.box_loss_weight, config.smooth_l1_sigma)
    positive = tf.math.count_nonzero(rpn_targets.labels == 1, dtype=tf.float32)
    return Losses(sums, dict.fromkeys(sums, count), {"positive_anchors": positive})


def _head_losses(model: FasterRCNN, batch: Batch, features: Tensor, proposals: Proposals) -> Losses:
    config = model.config.head
    roi_targets = targets.roi_targets(
        proposals,
        batch.ground_truth,
        batch.seeds,
        foreground_iou=config.foreground_iou,
        background_iou=config.background_iou,
        batch_size=config.batch_size,
        foreground_fraction=config.foreground_fraction,
        balanced=config.balanced_foreground,
        delta_std=config.delta_std,
    )
    output = forward.classify(model.parts, features, roi_targets.boxes, batch.image_sizes, batch.seeds)
    sums, count = head_loss_sums(output, roi_targets, config.box_loss_weight, config.smooth_l1_sigma)
    foreground = tf.math.count_nonzero(roi_targets.classes > 0, dtype=tf.float32)
    return Losses(sums, dict.fromkeys(sums, count), {"foreground_rois": foreground})
