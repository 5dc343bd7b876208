"""Recall of proposals: the share of the objects that the best proposals of each image cover.

This measures the region proposal network alone: unlike average precision, it needs no detector.

Source: Faster R-CNN, section 4.1 ("Recall-to-IoU", after Hosang et al., "How good are detection proposals, really?"),
computed like `evaluate_recall` of py-faster-rcnn.

Axes: P proposals and G objects of one image; N counts of proposals; T IoU thresholds; I images.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import proposals_of
from keras_frcnn.evaluation.matching.overlap import pairwise_iou

COUNTS = (50, 100, 300, 1000, 2000)
# Not np.arange: it gives 0.7000000000000001, which an overlap of exactly 7/10 does not reach.
IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class ClassRecall(NamedTuple):
    """Recall of the objects of one class.  The proposals are the same for all classes."""

    class_name: str
    recalls: np.ndarray  # (N, T), as in RecallResult
    objects: int  # without the difficult ones


class RecallResult(NamedTuple):
    """Recall of the best proposals of each image."""

    counts: tuple[int, ...]  # (N,) the most proposals used from each image
    iou_thresholds: tuple[float, ...]  # (T,)
    recalls: np.ndarray  # (N, T) share of the objects covered with IoU >= threshold; NaN if there are no objects
    average_recalls: np.ndarray  # (N,) mean over the thresholds
    mean_proposals: np.ndarray  # (N,) mean number of proposals used from each image
    objects: int  # without the difficult ones
    images: int
    classes: tuple[ClassRecall, ...]
    # The next two are None if the result was read from a file.
    reached: np.ndarray | None = None  # (I, N, T) int, number of objects of each image that are covered
    objects_by_image: np.ndarray | None = None  # (I,) int, without the difficult ones


def proposal_recall(
    examples: Iterable[Example],
    proposals_by_image: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    counts: Sequence[int] = COUNTS,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> RecallResult:
    """Recall of the first `count` proposals of each image, for each count and IoU threshold.

    Difficult objects are ignored, because the network is not trained on them.  Proposals have no class, so the class of
    an object does not change whether it is covered; the recall of each class shows which classes are missed.

    Args:
      examples: the images of the split.
      proposals_by_image: image id -> (P, 4) boxes, best first, yxyx, continuous corners, pixels of the picture before
        resizing.  An image without proposals needs an empty array.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      counts: the numbers of proposals N.
      iou_thresholds: the thresholds T.

    Raises:
      InputError: an image has no entry in `proposals_by_image`.
    """
    examples = tuple(examples)
    covered_by_image: list[list[np.ndarray]] = [[] for _ in counts]  # for each count, (G,) of each image
    classes_by_image, proposal_counts = [], []
    for example in examples:
        proposals = proposals_of(example.image_id, proposals_by_image)
        proposal_counts.append(len(proposals))
        iou = pairwise_iou(proposals, example.boxes[~example.difficult])
        classes_by_image.append(example.classes[~example.difficult])
        for count, overlaps in zip(counts, covered_by_image, strict=True):
            overlaps.append(cover_objects(iou[:count]))

    covered = np.stack([np.concatenate([np.zeros(0), *overlaps]) for overlaps in covered_by_image])  # (N, all G)
    classes = np.concatenate([np.zeros(0, np.int32), *classes_by_image])  # (all G,)
    recalls = _recalls(covered, iou_thresholds)
    used = np.minimum(np.asarray(proposal_counts)[:, None], np.asarray(counts))
    return RecallResult(
        counts=tuple(counts),
        iou_thresholds=tuple(iou_thresholds),
        recalls=recalls,
        average_recalls=recalls.mean(axis=1),
        mean_proposals=used.mean(axis=0) if examples else np.full(len(counts), np.nan),
        objects=len(classes),
        images=len(examples),
        classes=tuple(
            ClassRecall(name, _recalls(covered[:, classes == number], iou_thresholds), int(np.sum(classes == number)))
            for number, name in enumerate(class_names, start=1)
        ),
        reached=_reached_by_image(covered_by_image, iou_thresholds),
        objects_by_image=np.array([len(classes) for classes in classes_by_image], np.int64),
    )


def _recalls(covered: np.ndarray, iou_thresholds: Sequence[float]) -> np.ndarray:
    """Share of the objects that are covered with at least each threshold.

    Args:
      covered: (N, G) IoU with which each object is covered.
      iou_thresholds: the thresholds T.

    Returns:
      (N, T), NaN if there are no objects.
    """
    reached = np.stack([np.sum(covered >= threshold, axis=1) for threshold in iou_thresholds], axis=1)
    return reached / covered.shape[1] if covered.shape[1] else np.full(reached.shape, np.nan)


def _reached_by_image(covered_by_image: Sequence[Sequence[np.ndarray]], iou_thresholds: Sequence[float]) -> np.ndarray:
    """(I, N, T) the field `reached`; `covered_by_image` has, for each count, the (G,) IoU of each image's objects."""
    rows = [
        [[np.count_nonzero(covered >= threshold) for threshold in iou_thresholds] for covered in by_count]
        for by_count in zip(*covered_by_image, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, len(covered_by_image), len(iou_thresholds))


def cover_objects(iou: np.ndarray) -> np.ndarray:
    """The IoU with which each object is covered, if each proposal may cover only one object.

    The matching is greedy, as in py-faster-rcnn: the pair of object and proposal with the highest IoU is matched and
    removed, and so on until the objects or the proposals run out.

    Args:
      iou: (P, G) IoU of each proposal with each object.

    Returns:
      (G,) IoU of each object with its proposal; 0 for an object without one.
    """
    iou = iou.T.copy()  # (G, P)
    covered = np.zeros(iou.shape[0])
    for _ in range(min(iou.shape)):
        matched, proposal = np.unravel_index(iou.argmax(), iou.shape)
        covered[matched] = iou[matched, proposal]
        iou[matched, :] = -1.0
        iou[:, proposal] = -1.0
    return covered
