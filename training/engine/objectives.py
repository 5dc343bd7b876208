"""What one training step computes: (model, batch) -> sums of losses and the counts that divide them.

Gradients reach the parts that the caller watches; sampling and targets lie outside of them by construction.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.rules import targets
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.rules.losses import head_loss_sums, rpn_loss_sums
from keras_frcnn.network.model import FasterRCNN, classify, grid_anchors, propose
from keras_frcnn.facts.structures import Batch, Proposals, RPNOutput


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
    output, config = model.rpn(features), model.config.rpn
    proposals = propose(
        RPNOutput(*map(tf.stop_gradient, output)),
        tf.stop_gradient(features),
        batch.image_sizes,
        model.config,
        pre_nms_topk=config.joint_pre_nms_topk,
        post_nms_topk=config.train_post_nms_topk,
    )
    of_rpn = _rpn_losses(model, batch, features, output)
    of_head = _head_losses(model, batch, features, proposals)
    return Losses(*(one | other for one, other in zip(of_rpn, of_head, strict=True)))


def _rpn_losses(model: FasterRCNN, batch: Batch, features, output: RPNOutput) -> Losses:
    config = model.config.rpn
    height, width = tf.unstack(tf.shape(features)[1:3])
    rpn_targets = targets.rpn_targets(
        tf.reshape(grid_anchors(features, model.config), [height, width, model.rpn.anchors_per_cell, 4]),
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
    output = classify(model.head, features, roi_targets.boxes, batch.image_sizes, model.config, batch.seeds)
    sums, count = head_loss_sums(output, roi_targets, config.box_loss_weight, config.smooth_l1_sigma)
    foreground = tf.math.count_nonzero(roi_targets.classes > 0, dtype=tf.float32)
    return Losses(sums, dict.fromkeys(sums, count), {"foreground_rois": foreground})


def image_features(model: FasterRCNN, batch: Batch) -> tf.Tensor:
    """Backbone features (B, h, w, c) of a batch, from its images.

    A batch of one image has no padding, so the backbone needs no masks.
    """
    return model.backbone(batch.images, None if _is_one_image(batch) else batch.image_sizes)


def fixed_features(model: FasterRCNN, batch: Batch) -> tf.Tensor:
    """Backbone features (B, h, w, c) of a batch, for a backbone that does not change.

    Stored features are used where the batch has them; the others are computed from the images.
    """
    stored = batch.features
    maps = tf.cast(stored.maps, model.backbone.compute_dtype)

    def computed() -> tf.Tensor:
        if _is_one_image(batch):
            return image_features(model, batch)
        return tf.cond(
            tf.reduce_any(stored.valid),
            lambda: _missing_features(model, batch, maps),
            lambda: image_features(model, batch),
        )

    features = tf.cond(tf.reduce_all(stored.valid), lambda: maps, computed)
    return tf.ensure_shape(features, [None, None, None, model.backbone.convolutions[-1].filters])


def _is_one_image(batch: Batch) -> bool:
    """Whether the batch size is known to be 1 when the graph is traced."""
    return batch.images.shape[0] == 1


def _missing_features(model: FasterRCNN, batch: Batch, maps):
    """Row by row, so that only the rows without stored features are computed."""
    cells = batch.image_sizes // STRIDE
    most = tf.reduce_max(cells, axis=0)

    def one_image(row):
        (height, width), (rows, columns) = tf.unstack(batch.image_sizes[row]), tf.unstack(cells[row])
        features = tf.cond(
            batch.features.valid[row],
            lambda: maps[row, :rows, :columns],
            lambda: model.backbone(batch.images[row : row + 1, :height, :width])[0],
        )
        return tf.pad(features, [[0, most[0] - rows], [0, most[1] - columns], [0, 0]])

    return tf.map_fn(one_image, tf.range(tf.shape(cells)[0]), fn_output_signature=maps.dtype)


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
