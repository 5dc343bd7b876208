"""Recall of proposals: how many of the objects the best N proposals of each image cover.

Source: the recall of Faster R-CNN section 4.1 ("Recall-to-IoU", after Hosang et al., "How good are detection proposals,
really?"), computed as by `evaluate_recall` of py-faster-rcnn.  Unlike average precision it needs no detector, so that
it says of a region proposal network alone whether it has learned.

Axes: P proposals and G objects of one image; N counts; T IoU thresholds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.errors import InputError
from keras_frcnn.evaluation.overlap import pairwise_iou

COUNTS = (50, 100, 300, 1000, 2000)
# Written out: np.arange gives 0.7000000000000001, which an overlap of exactly 7/10 does not reach.
IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class RecallResult(NamedTuple):
    """Recall of the best proposals of each image."""

    counts: tuple[int, ...]  # (N,) how many of an image's proposals are looked at
    iou_thresholds: tuple[float, ...]  # (T,)
    recalls: np.ndarray  # (N, T) share of the objects covered with IoU >= threshold; nan where there is no object
    average_recalls: np.ndarray  # (N,) mean over the thresholds
    mean_proposals: np.ndarray  # (N,) proposals an image that were there to look at
    objects: int  # without the difficult ones
    images: int


def proposal_recall(
    examples: Iterable[Example],
    proposals_by_image: Mapping[str, np.ndarray],
    counts: Sequence[int] = COUNTS,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> RecallResult:
    """Recall of the first `count` proposals of each image, for each count and IoU threshold.

    `proposals_by_image` has (P, 4) boxes for each image id, best first.  Boxes are yxyx, continuous corners, pixels of
    the stored picture.  Difficult objects are left out, as nothing is trained on them.  Classes do not matter.

    Raises `InputError` for an image without an entry; one without proposals has an empty array.
    """
    examples = tuple(examples)
    covered = [[] for _ in counts]
    proposal_counts = []
    for example in examples:
        if example.image_id not in proposals_by_image:
            raise InputError(f"proposals of image {example.image_id!r}", "there are none",
                             "make the proposals of this split, an empty array where an image has none")
        proposals = np.asarray(proposals_by_image[example.image_id]).reshape(-1, 4)
        proposal_counts.append(len(proposals))
        iou = pairwise_iou(proposals, example.boxes[~example.difficult])
        for count, overlaps in zip(counts, covered, strict=True):
            overlaps.append(cover_objects(iou[:count]))

    covered = np.stack([np.concatenate([np.zeros(0), *overlaps]) for overlaps in covered])  # (N, all G)
    objects = covered.shape[1]
    recalls = np.stack([np.sum(covered >= threshold, axis=1) for threshold in iou_thresholds], axis=1)
    recalls = recalls / objects if objects else np.full(recalls.shape, np.nan)
    looked_at = np.minimum(np.asarray(proposal_counts)[:, None], np.asarray(counts))
    return RecallResult(
        counts=tuple(counts),
        iou_thresholds=tuple(iou_thresholds),
        recalls=recalls,
        average_recalls=recalls.mean(axis=1),
        mean_proposals=looked_at.mean(axis=0) if examples else np.full(len(counts), np.nan),
        objects=objects,
        images=len(examples),
    )


def cover_objects(iou: np.ndarray) -> np.ndarray:
    """IoU with which each object is covered, when no proposal may cover two; (P, G) gives (G,).

    Greedy, as in py-faster-rcnn: the object that is covered best takes its best proposal, both leave, and so on.  The
    values are in the order in which the objects are served.  Objects left when the proposals run out have 0.
    """
    iou = iou.T.copy()  # (G, P)
    covered = np.zeros(iou.shape[0])
    for turn in range(min(iou.shape)):
        served, proposal = np.unravel_index(iou.argmax(), iou.shape)
        covered[turn] = iou[served, proposal]
        iou[served, :] = -1.0
        iou[:, proposal] = -1.0
    return covered
