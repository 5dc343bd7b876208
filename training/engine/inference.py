"""What a model in training computes for a batch: features, proposals and detections.

Steps 3 and 4 do not change the backbone, so a batch may bring stored features instead of images.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import Batch, Detections, Proposals, Tensor
from keras_frcnn.geometry.boxes import to_original_pixels
from keras_frcnn.network import forward
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.model import FasterRCNN


def propose_in_batch(model: FasterRCNN, batch: Batch, counts: forward.Counts) -> Proposals:
    """The model's proposals for each image of a batch, boxes in pixels of the images before resizing."""
    proposals = forward.propose(model.parts, fixed_features(model, batch), batch.image_sizes, counts)
    return proposals._replace(boxes=to_original_pixels(proposals.boxes, batch.image_sizes, batch.original_sizes))


def detect_in_batch(model: FasterRCNN, batch: Batch, with_stored_proposals: bool) -> Detections:
    """The model's detections in each image of a batch, boxes in pixels of the images before resizing.

    They are made from the model's own proposals or, `with_stored_proposals`, from the first `config.test.post_nms_topk`
    proposals stored with the batch.  Step 2 needs stored ones: its detector does not share a backbone with the RPN.
    """
    features, sizes = fixed_features(model, batch), batch.image_sizes
    stored = None
    if with_stored_proposals:
        stored = _exactly(batch.proposals, model.config.test.post_nms_topk)
    detections = forward.detect(model.parts, features, sizes, stored)
    return detections._replace(boxes=to_original_pixels(detections.boxes, sizes, batch.original_sizes))


def _exactly(proposals: Proposals, count: int) -> Proposals:
    """The first `count` proposals of each image; the valid ones are filled up with invalid ones to this number.

    With a number that the graph knows, TensorFlow does not complain that it cannot predict the cost of RoI pooling
    (tensorflow/tensorflow#56904).
    """

    def cut(field: Tensor) -> Tensor:
        first = field[:, :count]
        missing = [[0, 0], [0, count - tf.shape(first)[1]], *[[0, 0]] * (len(field.shape) - 2)]
        return tf.ensure_shape(tf.pad(first, missing), [field.shape[0], count, *field.shape[2:]])

    return Proposals(*map(cut, proposals))


def image_features(model: FasterRCNN, batch: Batch) -> Tensor:
    """Backbone features (B, h, w, c) of a batch, computed from its images.

    A batch of one image has no padding, so the backbone needs no masks.
    """
    return model.backbone(batch.images, None if _is_one_image(batch) else batch.image_sizes)


def fixed_features(model: FasterRCNN, batch: Batch) -> Tensor:
    """Backbone features (B, h, w, c) of a batch, for a backbone that does not change.

    Stored features are used where the batch has them; the others are computed from the images.
    """
    stored = batch.features
    maps = tf.cast(stored.maps, model.backbone.compute_dtype)

    def computed() -> Tensor:
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


def _missing_features(model: FasterRCNN, batch: Batch, maps: Tensor) -> Tensor:
    """Features of a batch of which some are stored.  Image by image, so that only the missing ones are computed."""
    cells = batch.image_sizes // STRIDE
    most = tf.reduce_max(cells, axis=0)

    def one_image(row: Tensor) -> Tensor:
        (height, width), (rows, columns) = tf.unstack(batch.image_sizes[row]), tf.unstack(cells[row])
        features = tf.cond(
            batch.features.valid[row],
            lambda: maps[row, :rows, :columns],
            lambda: model.backbone(batch.images[row : row + 1, :height, :width])[0],
        )
        return tf.pad(features, [[0, most[0] - rows], [0, most[1] - columns], [0, 0]])

    return tf.map_fn(one_image, tf.range(tf.shape(cells)[0]), fn_output_signature=maps.dtype)
