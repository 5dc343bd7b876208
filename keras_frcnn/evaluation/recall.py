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
from keras_frcnn.facts.errors import InputError
from keras_frcnn.evaluation.overlap import pairwise_iou

COUNTS = (50, 100, 300, 1000, 2000)
# Written out: np.arange gives 0.7000000000000001, which an overlap of exactly 7/10 does not reach.
IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class ClassRecall(NamedTuple):
    """Recall of the objects of one class, by the same proposals."""

    class_name: str
    recalls: np.ndarray  # (N, T), as in RecallResult
    objects: int


class RecallResult(NamedTuple):
    """Recall of the best proposals of each image."""

    counts: tuple[int, ...]  # (N,) how many of an image's proposals are looked at
    iou_thresholds: tuple[float, ...]  # (T,)
    recalls: np.ndarray  # (N, T) share of the objects covered with IoU >= threshold; nan where there is no object
    average_recalls: np.ndarray  # (N,) mean over the thresholds
    mean_proposals: np.ndarray  # (N,) proposals an image that were there to look at
    objects: int  # without the difficult ones
    images: int
    classes: tuple[ClassRecall, ...]


def proposal_recall(
    examples: Iterable[Example],
    proposals_by_image: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    counts: Sequence[int] = COUNTS,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> RecallResult:
    """Recall of the first `count` proposals of each image, for each count and IoU threshold.

    `proposals_by_image` has (P, 4) boxes for each image id, best first.  Boxes are yxyx, continuous corners, pixels of
    the stored picture.  Difficult objects are left out, as nothing is trained on them.  What covers an object does not
    depend on its class, number 1 + its place in `class_names`; the recall of each class shows which ones are missed.

    Raises `InputError` for an image without an entry; one without proposals has an empty array.
    """
    examples = tuple(examples)
    covered = [[] for _ in counts]
    classes, proposal_counts = [], []
    for example in examples:
        if example.image_id not in proposals_by_image:
            raise InputError(f"proposals of image {example.image_id!r}", "there are none",
                             "make the proposals of this split, an empty array where an image has none")
        proposals = np.asarray(proposals_by_image[example.image_id]).reshape(-1, 4)
        proposal_counts.append(len(proposals))
        iou = pairwise_iou(proposals, example.boxes[~example.difficult])
        classes.append(example.classes[~example.difficult])
        for count, overlaps in zip(counts, covered, strict=True):
            overlaps.append(cover_objects(iou[:count]))

    covered = np.stack([np.concatenate([np.zeros(0), *overlaps]) for overlaps in covered])  # (N, all G)
    classes = np.concatenate([np.zeros(0, np.int32), *classes])  # (all G,)
    recalls = _recalls(covered, iou_thresholds)
    looked_at = np.minimum(np.asarray(proposal_counts)[:, None], np.asarray(counts))
    return RecallResult(
        counts=tuple(counts),
        iou_thresholds=tuple(iou_thresholds),
        recalls=recalls,
        average_recalls=recalls.mean(axis=1),
        mean_proposals=looked_at.mean(axis=0) if examples else np.full(len(counts), np.nan),
        objects=len(classes),
        images=len(examples),
        classes=tuple(
            ClassRecall(name, _recalls(covered[:, classes == number], iou_thresholds), int(np.sum(classes == number)))
            for number, name in enumerate(class_names, start=1)
        ),
    )


def _recalls(covered: np.ndarray, iou_thresholds: Sequence[float]) -> np.ndarray:
    """Share of the objects covered with each threshold and more; (N, G) gives (N, T), nan without objects."""
    reached = np.stack([np.sum(covered >= threshold, axis=1) for threshold in iou_thresholds], axis=1)
    return reached / covered.shape[1] if covered.shape[1] else np.full(reached.shape, np.nan)


def cover_objects(iou: np.ndarray) -> np.ndarray:
    """IoU with which each object is covered, when no proposal may cover two; (P, G) gives (G,).

    Greedy, as in py-faster-rcnn: the object that is covered best takes its best proposal, both leave, and so on.
    Objects left when the proposals run out have 0.
    """
    iou = iou.T.copy()  # (G, P)
    covered = np.zeros(iou.shape[0])
    for _ in range(min(iou.shape)):
        served, proposal = np.unravel_index(iou.argmax(), iou.shape)
        covered[served] = iou[served, proposal]
        iou[served, :] = -1.0
        iou[:, proposal] = -1.0
    return covered
