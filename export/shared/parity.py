"""Parity is a gate: an export that does not answer as the Keras model does is never put in place.

Detections of one picture are (boxes (D, 4) yxyx in 0-1 of the picture, classes (D,), scores (D,)) as NumPy arrays.
"""

import math
from typing import NamedTuple

import numpy as np

from keras_frcnn.evaluation.overlap import pairwise_iou

LEAST_OVERLAP = 0.5  # IoU under which two detections are of different objects
SYNTHETIC_COUNT = 4
SYNTHETIC_SIZE = (480, 640)  # height, width


class ParityError(Exception):
    """The export answers otherwise than the Keras model, or nothing shows that it does not."""


class Tolerance(NamedTuple):
    """How far an export may lie from the Keras model.

    Rounding in few bits now and then lets NMS keep the neighbour of a proposal, so that a few detections move further
    than all others: such an export is judged by a `share` of its detections under 1.
    """

    box: float  # of a coordinate, as a share of the picture's side
    score: float
    share: float = 1.0  # of the detections that must have a partner within both


class Parity(NamedTuple):
    """How far an export lies from the Keras model."""

    images: int
    detections: int  # of the Keras model
    matched: int
    unmatched: int  # detections of either side without a partner, those that `compare` forgives not counted
    apart: int  # matched, but beyond the tolerance
    box_difference: float  # largest of a coordinate, as a share of the picture's side; 0 where nothing is matched
    score_difference: float  # largest; 0 where nothing is matched


def compare(reference, exported, tolerance: Tolerance, test_config) -> Parity:
    """Match the detections of each picture one to one.

    Partners are of one class and overlap by an IoU of at least LEAST_OVERLAP; the pairs that agree best, by IoU less
    the difference of their scores, are taken first.  A detection without a partner is forgiven where rounding alone can
    have kept it from the other side: where its score is over `test_config.score_threshold` by no more than
    `tolerance.score` or, where the other side has all its `test_config.max_detections` rows filled, over the least
    score there by no more than that.

    Args:
      reference, exported: the detections of the same pictures in the same order.
      tolerance: says which partners are apart, and what is forgiven; `check` judges the result.
      test_config: the thresholds that both sides were computed with (`config.TestConfig`).
    """
    detections = unmatched = 0
    box_differences, score_differences = [], []
    for ours, theirs in zip(reference, exported, strict=True):
        rows, columns = _match(ours, theirs)
        box_differences.extend(np.abs(ours[0][rows] - theirs[0][columns]).max(axis=-1))
        score_differences.extend(np.abs(ours[2][rows] - theirs[2][columns]))
        for side, other, partners in ((ours, theirs, rows), (theirs, ours, columns)):
            limit = test_config.score_threshold
            if len(other[2]) >= test_config.max_detections:
                limit = max(limit, other[2].min())
            alone = np.delete(side[2], partners)
            unmatched += int(np.sum(~(alone <= limit + tolerance.score)))  # nan is never forgiven
        detections += len(ours[2])
    boxes, scores = np.array(box_differences), np.array(score_differences)
    return Parity(
        images=len(reference),
        detections=detections,
        matched=len(boxes),
        unmatched=unmatched,
        apart=int(np.sum(~((boxes <= tolerance.box) & (scores <= tolerance.score)))),
        box_difference=float(boxes.max(initial=0.0)),
        score_difference=float(scores.max(initial=0.0)),
    )


def _match(ours, theirs) -> tuple[list[int], list[int]]:
    """The rows of each side that are partners, in one order: each row at most once."""
    overlap = pairwise_iou(ours[0], theirs[0])
    possible = (overlap >= LEAST_OVERLAP) & (np.asarray(ours[1])[:, None] == np.asarray(theirs[1])[None])
    candidates = np.argwhere(possible)
    agreement = overlap[possible] - np.abs(ours[2][candidates[:, 0]] - theirs[2][candidates[:, 1]])
    rows, columns = [], []
    for row, column in candidates[np.argsort(-agreement, kind="stable")]:
        if row not in rows and column not in columns:
            rows.append(int(row))
            columns.append(int(column))
    return rows, columns


def check(parity: Parity, tolerance: Tolerance):
    """Raise ParityError where `parity` is beyond `tolerance`, or where nothing was compared."""
    if parity.detections == 0:
        problem = f"the Keras model finds nothing on the {parity.images} pictures, so that nothing is compared"
        raise ParityError(f"{problem}; give pictures of its objects (--images), or a lower --score-threshold")
    if parity.matched == 0:
        raise ParityError(f"none of the Keras model's {parity.detections} detections is found again")
    # A tenth of 13 detections is two of them: rounded up, or a single one would fail a short comparison.
    allowed = math.ceil(round((1.0 - tolerance.share) * parity.detections, 6))
    if parity.unmatched + parity.apart > allowed:
        raise ParityError(
            f"{parity.unmatched} detections without a partner and {parity.apart} of {parity.matched} further than "
            f"{tolerance.box:g} of the side or {tolerance.score:g} in score from it, where {allowed} may be; "
            f"at most {parity.box_difference:.2g} and {parity.score_difference:.2g}"
        )


def format_parity(parity: Parity) -> str:
    """One line for people."""
    return (
        f"{parity.images} pictures, {parity.matched} of {parity.detections} detections matched, "
        f"{parity.unmatched} without a partner, largest difference of a box {parity.box_difference:.1e} of the side, "
        f"of a score {parity.score_difference:.1e}"
    )


def given_images(paths) -> list[np.ndarray]:
    """The (H, W, 3) uint8 pictures of these files; raises InputError for one that cannot be read."""
    from keras_frcnn.api.pictures import read_picture

    return [read_picture(path) for path in paths]


def synthetic_images(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Drawn scenes, (H, W, 3) uint8, the same in every call."""
    from keras_frcnn.data.sources.scenes import draw_scene

    return [draw_scene(np.random.default_rng([0, index]), *size).image for index in range(count)]


def images_to_compare(options) -> list[np.ndarray]:
    """The pictures that the options of `model.add_parity_options` ask for."""
    return given_images(options.images) if options.images else synthetic_images(SYNTHETIC_COUNT, SYNTHETIC_SIZE)


def detect_with_keras(model, image):
    """Detections of one (H, W, 3) uint8 picture by the Keras model, prepared as in training."""
    from keras_frcnn.api.pictures import detect_pixels

    boxes, classes, scores = detect_pixels(model, image)
    return boxes / np.tile(np.float32(image.shape[:2]), 2), classes, scores


def reference_detections(model, images) -> list:
    """Detections of (H, W, 3) uint8 pictures by the Keras model."""
    return [detect_with_keras(model, image) for image in images]


def propose_with_keras(model, image):
    """Features (1, h, w, c), size (1, 2) as the network sees it, and Proposals of one (H, W, 3) uint8 picture."""
    import tensorflow as tf

    from keras_frcnn.data.images import prepare
    from keras_frcnn.network.forward import propose, detection_counts

    config = model.config
    resized = prepare(image, config.image.short_side, config.image.long_side)[None]
    sizes = tf.shape(resized)[None, 1:3]
    features = model.backbone(resized, sizes)
    return features, sizes, propose(model.parts, features, sizes, detection_counts(config))


def reference_proposals(model, images) -> list:
    """What the Keras model's RPN proposes in (H, W, 3) uint8 pictures, in the form of detections of a class 0."""
    found = []
    for image in images:
        _, sizes, proposals = propose_with_keras(model, image)
        boxes, scores = (field[0].numpy()[proposals.valid[0]] for field in (proposals.boxes, proposals.scores))
        found.append((boxes / np.tile(np.float32(sizes[0]), 2), np.zeros(len(scores)), scores))
    return found


def read_dataset(options, class_names):
    """The data set that `--data` and `--split` name, or None where none is asked for; raises InputError."""
    from keras_frcnn.data.sources.table import load_dataset

    return load_dataset(options.data, options.split, class_names=class_names) if options.data else None


def mean_average_precision(detect, dataset, title: str) -> float:
    """The 11-point mAP (IoU over 0.5) on `dataset` of `detect`, a function (H, W, 3) uint8 picture -> detections.

    Raises InputError for a picture that cannot be read.
    """
    from tqdm import tqdm

    from keras_frcnn.api.pictures import read_picture
    from keras_frcnn.evaluation.detections_record import ImageDetections
    from keras_frcnn.evaluation.voc_ap import evaluate_voc

    records = []
    for example in tqdm(dataset.examples, desc=title, unit="picture", mininterval=1.0, dynamic_ncols=True):
        boxes, classes, scores = detect(read_picture(example.image_path))
        pixels = boxes * np.tile([example.height, example.width], 2)
        records.append(ImageDetections(example.image_id, pixels, classes, scores))
    return evaluate_voc(dataset.examples, records, dataset.class_names, 0.5).mean_11point
