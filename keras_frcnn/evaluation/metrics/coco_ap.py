"""Average precision and average recall as COCO defines them: the twelve figures of its evaluation server.

pycocotools computes the figures; this module gives it examples and detections, and returns typed results.

Source: https://cocodataset.org/#detection-eval and `cocoeval.py` of pycocotools.  The rules differ from those of VOC:

- A detection matches the free object of its class that it overlaps most.  An IoU equal to the threshold is enough.
- At most 100 detections of each image and class count, those with the highest scores.
- Precision is read at 101 recall thresholds.  The mean runs over ten IoU thresholds, from 0.50 to 0.95.
- A crowd region is ignored.  It takes any number of detections, and the area of a detection replaces the union.
- A difficult object that is not a crowd is ignored, too, but takes only one detection.  COCO has no such objects.
- Small objects have an area of at most 32 x 32 pixels, large ones of at least 96 x 96.  The area is that of the
  object's mask where the data set states it, else that of the box.
- Detections of equal score keep their order.  Images are in the order of their ids if these are whole numbers, as
  pycocotools sorts them, else in the order of the examples.

Axes: T IoU thresholds, K classes, I images, D detections of one class by descending score; pycocotools also has R
recall thresholds, A sizes and M limits on the number of detections.
"""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections, check_records, image_positions
from keras_frcnn.evaluation.matching.matches import ClassMatches, found_by_image

SIZES = ("all", "small", "medium", "large")  # in the order of pycocotools' areaRng
LIMITS = (1, 10, 100)  # most detections of an image and class: pycocotools' maxDets


class Figures(NamedTuple):
    """The twelve figures, in the order of pycocotools' `summarize`; NaN where there are no objects."""

    ap: float  # average precision, mean over the ten IoU thresholds
    ap50: float  # at IoU 0.50
    ap75: float  # at IoU 0.75
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float  # average recall of at most 1 detection of an image and class, mean over the ten IoU thresholds
    ar10: float
    ar100: float
    ar_small: float  # of at most 100 detections, as are the next two
    ar_medium: float
    ar_large: float


class COCOClass(NamedTuple):
    """The figures of one class, and the matches they are computed from."""

    class_name: str
    figures: Figures
    objects: int  # without crowd regions and difficult objects
    detections: int
    matches: dict[str, ClassMatches]  # for each of SIZES, with the ten IoU thresholds and at most 100 detections
    found: dict[int, np.ndarray]  # for each of LIMITS: (T, I) objects of each image that are found


class COCOResult(NamedTuple):
    """COCO's figures."""

    figures: Figures  # means over the classes that have objects
    classes: tuple[COCOClass, ...]  # in the order of the class names
    images: int


def evaluate_coco(
    examples: Iterable[Example], detections: Iterable[ImageDetections], class_names: Sequence[str]
) -> COCOResult:
    """COCO's twelve figures, over all classes and for each class.

    Args:
      examples: the I images of the split.
      detections: at most one record per image; an image without a record has no detections.  As in the examples, boxes
        are yxyx, continuous corners, pixels of the picture before resizing.
      class_names: the K classes without background; class i is `class_names[i - 1]`.

    Raises:
      InputError: as in `check_records`.
      ValueError: two examples have the same image id.
    """
    examples, detections = tuple(examples), tuple(detections)
    records = {record.image_id: record for record in detections}
    positions = image_positions(examples)
    check_records(detections, positions, len(class_names))

    order = image_order(list(positions))
    objects, found = [], []
    for place, position in enumerate(order, start=1):  # ids from 1: pycocotools takes 0 for "no match"
        example = examples[position]
        objects += [{**row, "image_id": place} for row in _object_rows(example)]
        found += [{**row, "image_id": place} for row in _detection_rows(records.get(example.image_id))]
    evaluation = _run(len(examples), len(class_names), objects, found)

    counts = np.bincount([row["category_id"] for row in found], minlength=len(class_names) + 1)
    classes = []
    for index, name in enumerate(class_names):
        matches, by_limit = _class_matches(evaluation, index, np.asarray(order, np.int64))
        total = int(matches["all"].objects.sum())
        figures = _figures(evaluation, slice(index, index + 1))
        classes.append(COCOClass(name, figures, total, int(counts[index + 1]), matches, by_limit))
    return COCOResult(_figures(evaluation, slice(None)), tuple(classes), len(examples))


def image_order(image_ids: Sequence[str]) -> list[int]:
    """The positions of the images in the order in which pycocotools ranks detections of equal score."""
    positions = range(len(image_ids))
    if all(image_id.isascii() and image_id.isdecimal() for image_id in image_ids):
        return sorted(positions, key=lambda position: int(image_ids[position]))
    return list(positions)


class _Evaluation(COCOeval):
    """COCOeval that also ignores difficult objects.

    pycocotools overwrites the field `ignore` of an object with its `iscrowd`, so it is set afterwards.
    """

    def _prepare(self) -> None:
        super()._prepare()
        for objects in self._gts.values():
            for entry in objects:
                entry["ignore"] = entry["difficult"]


def _object_rows(example: Example) -> list[dict[str, Any]]:
    """The objects of one image as COCO's annotations, without ids."""
    boxes = _xywh(_stated(example.boxes))
    areas = boxes[:, 2] * boxes[:, 3] if example.areas is None else example.areas
    crowd = example.is_crowd
    rows = zip(boxes.tolist(), areas, example.classes, example.difficult | crowd, crowd, strict=True)
    return [
        {"bbox": box, "area": float(area), "category_id": int(number), "difficult": int(ignored), "iscrowd": int(many)}
        for box, area, number, ignored, many in rows
    ]


def _detection_rows(record: ImageDetections | None) -> list[dict[str, Any]]:
    """The detections of one image as COCO's annotations, without ids."""
    if record is None:
        return []
    rows = zip(_xywh(record.boxes).tolist(), record.classes, record.scores, strict=True)
    return [
        {"bbox": box, "area": box[2] * box[3], "category_id": int(number), "score": float(score)}
        for box, number, score in rows
    ]


def _xywh(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) yxyx as (N, 4) float64: x, y, width, height.

    Annotation files state few decimals, so an IoU can equal a threshold exactly.  Nine decimals restore the stated
    size: 381.39 + 92.98 - 381.39 is 92.98000000000002.
    """
    ymin, xmin, ymax, xmax = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return np.stack([xmin, ymin, np.round(xmax - xmin, 9), np.round(ymax - ymin, 9)], axis=1)


def _stated(boxes: np.ndarray) -> np.ndarray:
    """The numbers that the annotation file states for float32 corners, as float64.

    9.2 is 9.19999981 in float32, which would move an IoU away from a threshold that it equals.  The shortest decimal
    that gives the same float32 is the stated one.
    """
    return np.asarray(boxes).astype(np.str_).astype(np.float64)


def _run(images: int, classes: int, objects: list[dict[str, Any]], detections: list[dict[str, Any]]) -> COCOeval:
    """The evaluation by pycocotools, without what it prints."""

    def data_set(rows: list[dict[str, Any]]) -> COCO:
        data = COCO()
        data.dataset = {
            "images": [{"id": place} for place in range(1, images + 1)],
            "categories": [{"id": number} for number in range(1, classes + 1)],
            "annotations": [{**row, "id": number} for number, row in enumerate(rows, start=1)],
        }
        data.createIndex()
        return data

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _Evaluation(data_set(objects), data_set(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _figures(evaluation: COCOeval, classes: slice) -> Figures:
    """The twelve figures of some of the classes, as in pycocotools' `summarize`; it has -1 where nothing is counted."""
    precision = evaluation.eval["precision"][:, :, classes]  # (T, R, K, A, M)
    recall = evaluation.eval["recall"][:, classes]  # (T, K, A, M)

    def mean(values: np.ndarray) -> float:
        counted = values[values > -1]
        return float(np.mean(counted)) if counted.size else float("nan")

    everything, small, medium, large = range(len(SIZES))
    at_50, at_75 = 0, 5  # positions among the ten IoU thresholds
    return Figures(
        ap=mean(precision[..., everything, -1]),
        ap50=mean(precision[at_50, ..., everything, -1]),
        ap75=mean(precision[at_75, ..., everything, -1]),
        ap_small=mean(precision[..., small, -1]),
        ap_medium=mean(precision[..., medium, -1]),
        ap_large=mean(precision[..., large, -1]),
        ar1=mean(recall[..., everything, 0]),
        ar10=mean(recall[..., everything, 1]),
        ar100=mean(recall[..., everything, 2]),
        ar_small=mean(recall[..., small, -1]),
        ar_medium=mean(recall[..., medium, -1]),
        ar_large=mean(recall[..., large, -1]),
    )


def _class_matches(
    evaluation: COCOeval, index: int, positions: np.ndarray
) -> tuple[dict[str, ClassMatches], dict[int, np.ndarray]]:
    """The fields `matches` and `found` of one class.

    Args:
      evaluation: the finished evaluation.
      index: the class, from 0.
      positions: (I,) position in the examples of each image of the evaluation.
    """
    images, thresholds = len(positions), len(evaluation.params.iouThrs)
    matches, found = {}, {}
    for place, size in enumerate(SIZES):
        start = (index * len(SIZES) + place) * images
        objects = np.zeros(images, np.int64)
        owners, ranks, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
        right, ignored = [np.zeros((thresholds, 0), bool)], [np.zeros((thresholds, 0), bool)]
        for position, entry in zip(positions, evaluation.evalImgs[start : start + images], strict=True):
            if entry is None:  # neither objects nor detections of the class
                continue
            objects[position] = np.count_nonzero(entry["gtIgnore"] == 0)
            owners.append(np.full(len(entry["dtScores"]), position))
            ranks.append(np.arange(len(entry["dtScores"])))
            scores.append(np.asarray(entry["dtScores"], np.float64))
            right.append((entry["dtMatches"] > 0) & ~entry["dtIgnore"])
            ignored.append(entry["dtIgnore"])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        owner, rank = np.concatenate(owners)[order], np.concatenate(ranks)[order]
        hits = np.concatenate(right, axis=1)[:, order]
        matches[size] = ClassMatches(owner, hits, np.concatenate(ignored, axis=1)[:, order], objects)
        if size == "all":
            found = {limit: found_by_image(matches[size], rank < limit) for limit in LIMITS}
    return matches, found
