"""What each stage of the forward pass makes of one picture.

Axes: h w feature cells, k anchors of a cell, A anchors (h*w*k), G objects, N boxes.  Boxes are float32 in the order
y0, x0, y1, x1, in pixels of the resized picture.
"""

import dataclasses
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.api.pictures import prepare_picture
from keras_frcnn.facts.config import DetectorConfig
from keras_frcnn.facts.structures import Detections, Proposals, RPNOutput, Tensor
from keras_frcnn.geometry import anchors as anchor_rules
from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.network import forward
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.forward import Parts
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.rules.targets import anchor_ious, label_anchors

_MOST_BEFORE = 10_000  # detections before suppression, also with a thousand classes


class Scored(NamedTuple):
    """Boxes with scores, best first."""

    boxes: np.ndarray  # (N, 4)
    scores: np.ndarray  # (N,)
    classes: np.ndarray  # (N,) int32; 0 for proposals, which have none


class Suppressed(NamedTuple):
    """What non-maximum suppression was given, and what it kept."""

    before: Scored
    kept: np.ndarray  # (N,) bool, a row for each of `before`


class Annotated(NamedTuple):
    """The annotation of a picture."""

    boxes: np.ndarray  # (G, 4) in pixels of the picture before it is resized
    classes: np.ndarray  # (G,) int32
    difficult: np.ndarray  # (G,) bool; such objects are not trained on


class Objects(NamedTuple):
    """The annotated objects of the picture, and how training would label the anchors for them."""

    boxes: np.ndarray  # (G, 4)
    classes: np.ndarray  # (G,) int32
    difficult: np.ndarray  # (G,) bool; training leaves these out, so no anchor is positive for them
    anchor_iou: np.ndarray  # (G,) the highest IoU of an anchor inside the picture
    positives: np.ndarray  # (G,) int, the positive anchors whose best object this is
    proposal_iou: np.ndarray  # (G,) the highest IoU of a proposal
    detection_iou: np.ndarray  # (G,) the highest IoU of a detection of its class
    detection_score: np.ndarray  # (G,) the score of that detection; NaN without one
    positive_anchors: np.ndarray  # (N, 4)
    negative: int  # anchors
    ignored: int  # anchors, with those that cross the border


class Stages(NamedTuple):
    """All stages of one picture."""

    original_size: tuple[int, int]  # height and width
    size: tuple[int, int]  # of the resized picture
    cells: tuple[int, int]  # h, w
    shapes: np.ndarray  # (k, 4) the anchors of the cell in the middle
    anchors: int  # A
    large: int  # anchors whose box, after decoding and clipping, is not too small
    objectness: np.ndarray  # (h, w) the highest score of an anchor of each cell
    proposals: Suppressed
    detections: Suppressed
    objects: Objects | None  # None if no annotation was given


def run_stages(model: FasterRCNN, pixels: np.ndarray, annotated: Annotated | None) -> Stages:
    """Run a picture through a detector and keep what each stage gives.

    Args:
        model: The detector.
        pixels: (H, W, 3) uint8 RGB, turned as the detector wants it.
        annotated: Its objects, or None if they are not known.
    """
    config, parts = model.config, model.parts
    images = prepare_picture(pixels, config.image)[None]
    size = images.shape[1:3]
    sizes = tf.constant([size])
    features = parts.backbone(images, sizes)
    output = parts.rpn(features)
    anchors = forward.grid_anchors(features, config)
    height, width = features.shape[1:3]
    per_cell = anchors.shape[0] // (height * width)
    middle = (height // 2 * width + width // 2) * per_cell
    objectness = tf.reshape(tf.nn.softmax(tf.cast(output.logits, tf.float32))[0, :, 1], (height, width, per_cell))

    large, proposals = _proposals(parts, features, sizes, output)
    detections = _detections(parts, len(model.class_names), features, sizes, output)
    return Stages(
        original_size=pixels.shape[:2],
        size=(size[0], size[1]),
        cells=(height, width),
        shapes=anchors[middle : middle + per_cell].numpy(),
        anchors=anchors.shape[0],
        large=large,
        objectness=tf.reduce_max(objectness, axis=-1).numpy(),
        proposals=proposals,
        detections=detections,
        objects=annotated and _objects(config, anchors, sizes, pixels.shape[:2], annotated, (proposals, detections)),
    )


def _proposals(parts: Parts, features: Tensor, sizes: Tensor, output: RPNOutput) -> tuple[int, Suppressed]:
    """The number of boxes that are not too small, and the proposals before and after suppression."""
    counts = forward.detection_counts(parts.config)
    kept = _rows(forward.propose(parts, features, sizes, counts, output))
    # A threshold of 1 keeps every box.
    all_kept = parts._replace(config=_changed(parts.config, "rpn", nms_iou=1.0))
    large = _rows(forward.propose(all_kept, features, sizes, forward.Counts(0, output.logits.shape[1]), output))
    entering = large if counts.before_nms == 0 else Scored(*(field[: counts.before_nms] for field in large))
    return len(large.scores), _compared(entering, kept)


def _detections(parts: Parts, classes: int, features: Tensor, sizes: Tensor, output: RPNOutput) -> Suppressed:
    """The detections before and after suppression."""
    proposals = forward.propose(parts, features, sizes, forward.detection_counts(parts.config), output)
    kept = _rows(forward.detect(parts, features, sizes, proposals))
    most = min(parts.config.test.post_nms_topk * classes, _MOST_BEFORE)
    all_kept = parts._replace(config=_changed(parts.config, "test", nms_iou=1.0, max_detections=most))
    return _compared(_rows(forward.detect(all_kept, features, sizes, proposals)), kept)


def _changed(config: DetectorConfig, section: str, **values: Any) -> DetectorConfig:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def _rows(found: Proposals | Detections) -> Scored:
    """The valid rows of the only picture."""
    valid = found.valid[0].numpy()
    classes = found.classes[0].numpy() if isinstance(found, Detections) else np.zeros(len(valid), np.int32)
    return Scored(found.boxes[0].numpy()[valid], found.scores[0].numpy()[valid], classes[valid])


def _compared(before: Scored, after: Scored) -> Suppressed:
    """Which rows of `before` are in `after`, too."""
    left = Counter(_identities(after))
    kept = []
    for row in _identities(before):
        kept.append(left[row] > 0)  # of equal rows, the first is kept
        left[row] -= 1
    return Suppressed(before, np.array(kept, bool))


def _identities(rows: Scored) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.column_stack([rows.boxes, rows.scores, rows.classes]).tolist()]


def _objects(
    config: DetectorConfig,
    anchors: Tensor,
    sizes: Tensor,
    original_size: tuple[int, ...],
    annotated: Annotated,
    found: tuple[Suppressed, Suppressed],
) -> Objects:
    """Compare the objects with anchors, proposals and detections; see `run_stages`."""
    classes, trained_on = annotated.classes, ~annotated.difficult
    boxes = annotated.boxes.astype(np.float32)[None]
    boxes = box_ops.to_resized_pixels(boxes, sizes, tf.constant([original_size[:2]]))
    ious, candidates, labels = _labelled(config, anchors, sizes, boxes, trained_on)
    owners = np.argmax(np.where(trained_on, ious, -1)[labels == 1], axis=1) if len(classes) else np.zeros(0, int)
    proposals, detections = found
    proposed = _ious(proposals.before.boxes[proposals.kept], boxes[0])
    detected = _ious(detections.before.boxes[detections.kept], boxes[0])
    detected = np.where(detections.before.classes[detections.kept][:, None] == classes, detected, 0.0)
    best = detected.argmax(axis=0) if len(detected) else np.zeros(len(classes), int)
    scores = np.append(detections.before.scores[detections.kept], np.nan)
    overlap = detected.max(axis=0, initial=0.0)
    return Objects(
        boxes=boxes[0].numpy(),
        classes=classes,
        difficult=annotated.difficult,
        anchor_iou=ious[candidates].max(axis=0, initial=0.0),
        positives=np.bincount(owners, minlength=len(classes)),
        proposal_iou=proposed.max(axis=0, initial=0.0),
        detection_iou=overlap,
        detection_score=np.where(overlap > 0, scores[best], np.nan),
        positive_anchors=anchors.numpy()[labels == 1],
        negative=int((labels == 0).sum()),
        ignored=int((labels == -1).sum()),
    )


def _labelled(
    config: DetectorConfig, anchors: Tensor, sizes: Tensor, boxes: Tensor, trained_on: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How training sees the anchors before it samples some: boxes (1, G, 4), `trained_on` (G,) bool.

    Returns the IoU of each anchor with each object (A, G), which anchors may be used (A,) bool, and the label of each
    (A,), see `label_anchors`.
    """
    areas = anchor_rules.base_areas(config.anchors.scales, config.anchors.ratios, config.anchors.shapes)
    ious = anchor_ious(anchors, tf.tile(areas, [anchors.shape[0] // len(areas)]), boxes)
    candidates = anchor_rules.inside_image(anchors, sizes) & anchor_rules.on_feature_cells(anchors, sizes, STRIDE)
    valid = tf.constant(trained_on[None], bool)
    labels = label_anchors(ious, valid, candidates, config.rpn.positive_iou, config.rpn.negative_iou)
    return ious[0].numpy(), candidates[0].numpy(), labels[0].numpy()


def _ious(boxes: np.ndarray, objects: Tensor) -> np.ndarray:
    """(N, 4), (G, 4) -> (N, G)."""
    return np.asarray(box_ops.pairwise_iou(tf.constant(boxes[None]), objects[None])[0])
