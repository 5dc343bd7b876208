"""The comparison that every export must pass: its answers against those of the Keras model.

An export that fails is not written.  This module compares NumPy arrays and runs no model.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.evaluation.matching.overlap import pairwise_iou
from keras_frcnn.facts.config import TestConfig

LEAST_OVERLAP = 0.5  # IoU; detections that overlap less are of different objects


class ParityError(Exception):
    """The export differs too much from the Keras model, or there was nothing to compare."""


class PictureDetections(NamedTuple):
    """The D detections in one picture, without padding."""

    boxes: np.ndarray  # (D, 4) yxyx, from 0 to 1 of the picture's sides
    classes: np.ndarray  # (D,)
    scores: np.ndarray  # (D,)


class Tolerance(NamedTuple):
    """How much an export may differ from the Keras model.

    With few bits, rounding sometimes makes NMS keep a neighbour of a proposal.  A few detections then move further than
    all the others.  For such an export, `share` is less than 1.
    """

    box: float  # of a coordinate, as a share of the picture's side
    score: float
    share: float = 1.0  # of the detections that need a partner within both limits


class Parity(NamedTuple):
    """How much an export differs from the Keras model."""

    images: int
    detections: int  # of the Keras model
    matched: int
    unmatched: int  # detections of either side without a partner, except those that `compare` forgives
    apart: int  # matched, but beyond the tolerance
    box_difference: float  # the largest of a coordinate, as a share of the picture's side; 0 without matches
    score_difference: float  # the largest; 0 without matches


def compare(
    reference: Sequence[PictureDetections],
    exported: Sequence[PictureDetections],
    tolerance: Tolerance,
    test_config: TestConfig,
) -> Parity:
    """Match the detections of both sides one to one in each picture, and measure the differences.

    Partners have the same class and an IoU of at least LEAST_OVERLAP.  The pairs that agree best are matched first;
    agreement is the IoU minus the difference of the scores.

    A detection without a partner is forgiven if rounding alone can explain it.  Its score must then be at most
    `tolerance.score` above `test_config.score_threshold`.  If the other side fills all its `test_config.max_detections`
    rows, at most `tolerance.score` above the lowest score of that side is enough.

    Args:
      reference: the detections of the Keras model in each picture.
      exported: the detections of the export in the same pictures, in the same order.
      tolerance: decides which partners count as apart, and what is forgiven.  `check` judges the result.
      test_config: the thresholds that both sides were computed with.

    Raises ValueError if the two sides do not have the same number of pictures.
    """
    detections = unmatched = 0
    box_differences, score_differences = [], []
    for ours, theirs in zip(reference, exported, strict=True):
        rows, columns = _match(ours, theirs)
        box_differences.extend(np.abs(ours.boxes[rows] - theirs.boxes[columns]).max(axis=-1))
        score_differences.extend(np.abs(ours.scores[rows] - theirs.scores[columns]))
        for side, other, partners in ((ours, theirs, rows), (theirs, ours, columns)):
            limit = test_config.score_threshold
            if len(other.scores) >= test_config.max_detections:
                limit = max(limit, other.scores.min())
            alone = np.delete(side.scores, partners)
            unmatched += int(np.sum(~(alone <= limit + tolerance.score)))  # NaN is never forgiven
        detections += len(ours.scores)
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


def _match(ours: PictureDetections, theirs: PictureDetections) -> tuple[list[int], list[int]]:
    """The rows of each side that are partners, in the same order.  Each row appears at most once."""
    overlap = pairwise_iou(ours.boxes, theirs.boxes)
    possible = (overlap >= LEAST_OVERLAP) & (np.asarray(ours.classes)[:, None] == np.asarray(theirs.classes)[None])
    candidates = np.argwhere(possible)
    agreement = overlap[possible] - np.abs(ours.scores[candidates[:, 0]] - theirs.scores[candidates[:, 1]])
    rows, columns = [], []
    for row, column in candidates[np.argsort(-agreement, kind="stable")]:
        if row not in rows and column not in columns:
            rows.append(int(row))
            columns.append(int(column))
    return rows, columns


def check(parity: Parity, tolerance: Tolerance) -> None:
    """Raise ParityError if `parity` is beyond `tolerance`, or if nothing was compared."""
    if parity.detections == 0:
        problem = f"the Keras model finds nothing on the {parity.images} pictures, so there is nothing to compare"
        raise ParityError(f"{problem}; give pictures of its objects (--images), or a lower --score-threshold")
    if parity.matched == 0:
        raise ParityError(f"the export finds none of the Keras model's {parity.detections} detections")
    # Rounded up: in a comparison of 13 detections, a single one is not beyond a share of a tenth.
    allowed = math.ceil(round((1.0 - tolerance.share) * parity.detections, 6))
    if parity.unmatched + parity.apart > allowed:
        raise ParityError(
            f"{parity.unmatched} detections have no partner, and {parity.apart} of {parity.matched} matched ones "
            f"differ by more than {tolerance.box:g} of the side or {tolerance.score:g} in score; {allowed} may differ. "
            f"Largest differences: {parity.box_difference:.2g} of the side and {parity.score_difference:.2g} in score; "
            "if the pictures are unlike those of the training, give others with --images"
        )


def format_parity(parity: Parity) -> str:
    """One line for people."""
    return (
        f"{parity.images} pictures, {parity.matched} of {parity.detections} detections matched, "
        f"{parity.unmatched} without a partner, largest difference of a box {parity.box_difference:.1e} of the side, "
        f"of a score {parity.score_difference:.1e}"
    )
