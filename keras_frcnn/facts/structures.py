"""The typed tuples that one stage passes to the next, with the shape of each field.

Axes: B images, H W pixels, h w feature cells, A anchors (h*w*k), P proposals, R sampled RoIs, G ground-truth objects,
C classes with background (class 0), D detections.

Boxes are float32 in the order y0, x0, y1, x1, in absolute pixels of the resized image, with continuous corners.  The
number of rows is fixed.  The boolean field `valid` marks the real rows; all other rows are padding and hold zeros.
Fields without a type are float32.
"""

from typing import Any, NamedTuple

Tensor = Any  # stands for tf.Tensor: importing TensorFlow only for a type would take seconds


class GroundTruth(NamedTuple):
    """The annotated objects of a batch."""

    boxes: Tensor  # (B, G, 4)
    classes: Tensor  # (B, G) int32, 1..C-1
    valid: Tensor  # (B, G) bool; false for padding.  Difficult objects are left out before


class StoredFeatures(NamedTuple):
    """Backbone features that were computed once and stored, for training with a frozen backbone."""

    maps: Tensor  # (B, h, w, c), each image's own cells, then zeros; h and w are 0 if no features are stored
    valid: Tensor  # (B,) bool; true if the image's features are stored, and its pixels are then not read


class Batch(NamedTuple):
    """A batch from the input pipeline, for training or evaluation."""

    images: Tensor  # (B, H, W, 3) normalised; zeros outside the image, and for images whose features are stored
    image_sizes: Tensor  # (B, 2) int32, height and width of each resized image
    original_sizes: Tensor  # (B, 2) int32, height and width before resizing
    image_ids: Tensor  # (B,) string
    seeds: Tensor  # (B, 2) int32, the random seed of each image: the run's seed and the position in the stream
    ground_truth: GroundTruth
    proposals: "Proposals"  # stored proposals; P is 0 if the training uses none
    features: StoredFeatures


class RPNOutput(NamedTuple):
    """Raw outputs of the region proposal network for each anchor, in the order of `anchors.tile_anchors`."""

    logits: Tensor  # (B, A, 2): background, object
    deltas: Tensor  # (B, A, 4)


class Proposals(NamedTuple):
    """Regions that may contain an object, sorted by descending score."""

    boxes: Tensor  # (B, P, 4)
    scores: Tensor  # (B, P)
    valid: Tensor  # (B, P) bool


class RPNTargets(NamedTuple):
    """Training targets of the region proposal network."""

    labels: Tensor  # (B, A) int32: 1 positive, 0 negative, -1 ignored or not sampled
    deltas: Tensor  # (B, A, 4), zeros unless the label is 1


class RoITargets(NamedTuple):
    """RoIs sampled to train the detector head, and their targets."""

    boxes: Tensor  # (B, R, 4)
    classes: Tensor  # (B, R) int32, 0 is background
    deltas: Tensor  # (B, R, 4) normalised, zeros if the class is 0
    valid: Tensor  # (B, R) bool


class HeadOutput(NamedTuple):
    """Raw outputs of the detector head for each RoI."""

    logits: Tensor  # (B, R, C)
    deltas: Tensor  # (B, R, C, 4) normalised


class Detections(NamedTuple):
    """Final detections, sorted by descending score."""

    boxes: Tensor  # (B, D, 4)
    classes: Tensor  # (B, D) int32, 1..C-1; 0 in padding
    scores: Tensor  # (B, D)
    valid: Tensor  # (B, D) bool
