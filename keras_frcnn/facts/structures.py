"""The typed tuples handed from one stage to the next, each field with its shape.

Axes: B images, H W pixels, h w feature cells, A anchors (h*w*k), P proposals, R sampled RoIs, G ground-truth objects,
C classes with background (class 0), D detections.  Boxes are float32, yxyx, absolute pixels of the resized image,
continuous corners.  Sizes are fixed; a boolean `valid` says which rows are real, and rows that are not hold zeros.
"""

from typing import Any, NamedTuple

Tensor = Any  # tf.Tensor; importing TensorFlow for a name would cost seconds


class GroundTruth(NamedTuple):
    """The annotated objects of a batch."""

    boxes: Tensor  # (B, G, 4)
    classes: Tensor  # (B, G) int32, 1..C-1
    valid: Tensor  # (B, G) bool; objects marked difficult are not valid, as they are not trained on


class StoredFeatures(NamedTuple):
    """Backbone features computed once and kept, where the backbone does not change."""

    maps: Tensor  # (B, h, w, c) of each image alone, zero beyond its cells; h and w are 0 where none are stored
    valid: Tensor  # (B,) bool, whether an image's features are stored; its pixels are not read then


class Batch(NamedTuple):
    """What the input pipeline hands to a training step or to the evaluation."""

    images: Tensor  # (B, H, W, 3) normalised, zero beyond each image's size; all zero where its features are stored
    image_sizes: Tensor  # (B, 2) int32, height and width of each resized image
    original_sizes: Tensor  # (B, 2) int32, height and width before resizing
    image_ids: Tensor  # (B,) string
    seeds: Tensor  # (B, 2) int32, one random stream an image: (run seed, position in the stream)
    ground_truth: GroundTruth
    proposals: "Proposals"  # stored proposals; P is 0 where a step uses none
    features: StoredFeatures


class RPNOutput(NamedTuple):
    """Raw outputs of the region proposal network, anchors in the order of `anchors.tile_anchors`."""

    logits: Tensor  # (B, A, 2): background, object
    deltas: Tensor  # (B, A, 4)


class Proposals(NamedTuple):
    """Regions that may hold an object, best first."""

    boxes: Tensor  # (B, P, 4)
    scores: Tensor  # (B, P)
    valid: Tensor  # (B, P) bool


class RPNTargets(NamedTuple):
    """What the region proposal network should have said."""

    labels: Tensor  # (B, A) int32: 1 positive, 0 negative, -1 ignored or not sampled
    deltas: Tensor  # (B, A, 4), zeros where the label is not 1


class RoITargets(NamedTuple):
    """RoIs sampled for the detector, and what it should say of each."""

    boxes: Tensor  # (B, R, 4)
    classes: Tensor  # (B, R) int32, 0 is background
    deltas: Tensor  # (B, R, 4) normalised, zeros where the class is 0
    valid: Tensor  # (B, R) bool


class HeadOutput(NamedTuple):
    """Raw outputs of the detector head for each RoI."""

    logits: Tensor  # (B, R, C)
    deltas: Tensor  # (B, R, C, 4) normalised


class Detections(NamedTuple):
    """Final detections, best first."""

    boxes: Tensor  # (B, D, 4)
    classes: Tensor  # (B, D) int32, 1..C-1; 0 where not valid
    scores: Tensor  # (B, D)
    valid: Tensor  # (B, D) bool
