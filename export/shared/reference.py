"""What the Keras model answers: the reference with which an export is compared.

All functions take pictures (H, W, 3) uint8 RGB and prepare them as in training.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.shared.parity import PictureDetections
from keras_frcnn.api.pictures import detect_pixels, prepare_picture
from keras_frcnn.facts.structures import Proposals, Tensor
from keras_frcnn.network import forward
from keras_frcnn.network.model import FasterRCNN


class PictureProposals(NamedTuple):
    """The proposals in one picture, and what they were computed from."""

    features: Tensor  # (1, h, w, c)
    image_sizes: Tensor  # (1, 2) int32, height and width of the resized picture
    proposals: Proposals  # of one image, in pixels of the resized picture


def detect_with_keras(model: FasterRCNN, image: np.ndarray) -> PictureDetections:
    """The detections in one picture."""
    boxes, classes, scores = detect_pixels(model, image)
    return PictureDetections(boxes / np.tile(np.array(image.shape[:2], np.float32), 2), classes, scores)


def reference_detections(model: FasterRCNN, images: Iterable[np.ndarray]) -> list[PictureDetections]:
    """The detections in each picture."""
    return [detect_with_keras(model, image) for image in images]


def propose_with_keras(model: FasterRCNN, image: np.ndarray) -> PictureProposals:
    """The proposals in one picture, as many as detection uses."""
    parts = model.parts
    resized = prepare_picture(image, parts.config.image)[None]
    image_sizes = tf.shape(resized)[None, 1:3]
    features = parts.backbone(resized, image_sizes)
    counts = forward.detection_counts(parts.config)
    return PictureProposals(features, image_sizes, forward.propose(parts, features, image_sizes, counts))


def reference_proposals(model: FasterRCNN, images: Iterable[np.ndarray]) -> list[PictureDetections]:
    """The proposals in each picture, in the form of detections of class 0."""
    found = []
    for image in images:
        _, sizes, proposals = propose_with_keras(model, image)
        boxes, scores = (field[0].numpy()[proposals.valid[0]] for field in (proposals.boxes, proposals.scores))
        shares = boxes / np.tile(np.array(sizes[0], np.float32), 2)
        found.append(PictureDetections(shares, np.zeros(len(scores)), scores))
    return found
