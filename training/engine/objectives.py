"""What one training step computes: (model, batch) -> sums of losses and the counts that divide them.

Gradients reach the parts that the caller watches; sampling and targets lie outside of them by construction.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.rules import targets
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.rules.losses import head_loss_sums, rpn_loss_sums
from keras_frcnn.network import forward
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.facts.structures import Batch, Proposals, RPNOutput

from training.engine.inference import fixed_features, image_features


class Losses(NamedTuple):
    """What a batch says of the networks, by name; all scalars."""

    sums: dict  # losses, summed over what was sampled
    counts: dict  # of each loss, how many were sampled
    samples: dict  # positive anchors and foreground RoIs among them


def rpn_losses(model: FasterRCNN, batch: Batch, features):
    """RPN losses over the sampled anchors of a batch, given its backbone features."""
    return _rpn_losses(model, batch, features, model.rpn(features))


def head_losses(model: FasterRCNN, batch: Batch, features):
    """Detector losses over RoIs sampled from the batch's stored proposals, given its backbone features."""
    return _head_losses(model, batch, features, batch.proposals)


def joint_losses(model: FasterRCNN, batch: Batch, features):
    """The losses of both networks, the detector's on what the RPN proposes in this step (approximate joint training).

    The gradient of the proposals' coordinates is left out (section 3.2).
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


def _rpn_losses(model: FasterRCNN, batch: Batch, features, output: RPNOutput) -> Losses:
    config = model.config.rpn
    height, width = tf.unstack(tf.shape(features)[1:3])
    rpn_targets = targets.rpn_targets(
        tf.reshape(forward.grid_anchors(features, model.config), [height, width, model.rpn.anchors_per_cell, 4]),
        anchor_rules.base_areas(model.config.anchors.scales, model.config.anchors.ratios),
        batch.image_sizes,
        batch.ground_truth,
        batch.seeds,
        stride=STRIDE,
        widest=model.config.image.long_side // STRIDE,
        positive_iou=config.positive_iou,
        negative_iou=config.negative_iou,
        batch_size=config.batch_size,
        positive_fraction=config.positive_fraction,
    )
    sums, count = rpn_loss_sums(output, rpn_targets, config.box_loss_weight, config.smooth_l1_sigma)
    positive = tf.math.count_nonzero(rpn_targets.labels == 1, dtype=tf.float32)
    return Losses(sums, dict.fromkeys(sums, count), {"positive_anchors": positive})


def _head_losses(model: FasterRCNN, batch: Batch, features, proposals: Proposals) -> Losses:
    config = model.config.head
    roi_targets = targets.roi_targets(
        proposals,
        batch.ground_truth,
        batch.seeds,
        foreground_iou=config.foreground_iou,
        background_iou=config.background_iou,
        batch_size=config.batch_size,
        foreground_fraction=config.foreground_fraction,
        delta_std=config.delta_std,
    )
    output = forward.classify(model.parts, features, roi_targets.boxes, batch.image_sizes, batch.seeds)
    sums, count = head_loss_sums(output, roi_targets, config.box_loss_weight, config.smooth_l1_sigma)
    foreground = tf.math.count_nonzero(roi_targets.classes > 0, dtype=tf.float32)
    return Losses(sums, dict.fromkeys(sums, count), {"foreground_rois": foreground})


def loss_and_gradients(model: FasterRCNN, losses, batch: Batch, variables, train_backbone: bool, loss_scale=1.0):
    """Mean losses of a batch by name, their total, the gradient of `loss_scale` times it for `variables`, and samples.

    In a replica, its share of each: counts are those of all replicas, so that shares add up to the whole.
    """
    watched = [variable.value for variable in variables]
    features = None if train_backbone else fixed_features(model, batch)
    replicas = tf.distribute.get_replica_context()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(watched)
        result = losses(model, batch, image_features(model, batch) if train_backbone else features)
        counts = replicas.all_reduce(tf.distribute.ReduceOp.SUM, result.counts)
        # A batch that samples nothing has no loss, not 0 / 0.
        means = {name: value / tf.maximum(counts[name], 1.0) for name, value in result.sums.items()}
        total = tf.add_n(list(means.values()))
        scaled = total * loss_scale
    return means, total, tape.gradient(scaled, watched), result.samples
