"""Evaluation results as tables, for the terminal and for the report, and as plain values for JSON files.

Axes: N numbers of proposals, T IoU thresholds.
"""

from collections.abc import Sequence

import numpy as np

from keras_frcnn.evaluation.metrics.recall import ClassRecall, RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import VOCResult
from keras_frcnn.facts.files import nan_to_none, none_to_nan
from keras_frcnn.facts.pages.tables import Table, format_table, number

SHOWN_IOU_THRESHOLDS = (0.5, 0.7)  # the columns of the recall table; JSON files hold all thresholds


def ap_table(result: VOCResult, missing: str = "-") -> Table:
    """A row for each class; the footer has the means.  `missing` stands for a number that is NaN."""
    rows = tuple(
        (
            entry.class_name,
            number(entry.ap_11point, missing=missing),
            number(entry.ap_area, missing=missing),
            str(entry.objects),
            str(entry.detections),
        )
        for entry in result.classes
    )
    means = (
        "mean",
        number(result.mean_11point, missing=missing),
        number(result.mean_area, missing=missing),
        str(sum(entry.objects for entry in result.classes)),
        str(sum(entry.detections for entry in result.classes)),
    )
    return Table(("class", "AP 11-point", "AP area", "objects", "detections"), rows, (means,))


def recall_columns(result: RecallResult) -> dict[str, np.ndarray]:
    """The recall columns by their names: (N,) for each shown IoU threshold, and the mean over all thresholds last."""
    first, last = result.iou_thresholds[0], result.iou_thresholds[-1]
    columns = {
        f"IoU {threshold:.2f}": result.recalls[:, column]
        for column, threshold in enumerate(result.iou_thresholds)
        if threshold in SHOWN_IOU_THRESHOLDS
    }
    return columns | {f"IoU {first:.2f}:{last:.2f}": result.average_recalls}


def recall_table(result: RecallResult, missing: str = "-") -> Table:
    """A row for each number of proposals.  `missing` stands for a number that is NaN."""
    columns = recall_columns(result)
    rows = tuple(
        (
            str(count),
            number(proposals, digits=1, missing=missing),
            *(number(recall, missing=missing) for recall in recalls),
        )
        for count, proposals, *recalls in zip(result.counts, result.mean_proposals, *columns.values(), strict=True)
    )
    return Table(("proposals", "per image", *columns), rows)


def class_recall_table(result: RecallResult, missing: str = "-") -> Table:
    """A row for each class: recall at the lowest IoU threshold, with a column for each number of proposals.

    `missing` stands for a number that is NaN.
    """
    lowest = int(np.argmin(result.iou_thresholds))
    header = (
        f"class, IoU {result.iou_thresholds[lowest]:.2f}", "objects", *(f"by {count}" for count in result.counts)
    )  # fmt: skip
    rows = tuple(
        (
            entry.class_name,
            str(entry.objects),
            *(number(recall, missing=missing) for recall in entry.recalls[:, lowest]),
        )
        for entry in result.classes
    )
    return Table(header, rows)


def format_ap_table(result: VOCResult) -> str:
    """The AP table as plain text, followed by a line on the evaluation and a line on classes without objects."""
    notes = [f"PASCAL VOC, IoU > {result.iou_threshold:g}, {result.images} images; difficult objects not counted."]
    if result.classes_without_objects:
        notes.append(f"No objects, left out of the mean: {', '.join(result.classes_without_objects)}.")
    return "\n".join([format_table(ap_table(result)), *notes]) + "\n"


def format_recall_table(result: RecallResult) -> str:
    """The recall table and the table of each class's recall as plain text."""
    note = f"Recall of {result.objects} objects in {result.images} images; difficult objects not counted."
    return f"{format_table(recall_table(result))}\n{note}\n\n{format_table(class_recall_table(result))}\n"


def ap_to_json(result: VOCResult) -> dict:
    """Plain values for `json.dump`, with None for NaN.  The curves are left out: they are as long as the detections."""
    return {
        "iou_threshold": result.iou_threshold,
        "images": result.images,
        "mean_ap_11point": nan_to_none(result.mean_11point),
        "mean_ap_area": nan_to_none(result.mean_area),
        "classes_without_objects": list(result.classes_without_objects),
        "classes": {
            entry.class_name: {
                "ap_11point": nan_to_none(entry.ap_11point),
                "ap_area": nan_to_none(entry.ap_area),
                "objects": entry.objects,
                "detections": entry.detections,
            }
            for entry in result.classes
        },
    }


def recall_to_json(result: RecallResult) -> dict:
    """Plain values for `json.dump`, with None for NaN; a list entry for each number of proposals."""

    def by_threshold(recalls: np.ndarray) -> dict[str, float | None]:
        named = zip(result.iou_thresholds, recalls, strict=True)
        return {f"{threshold:.2f}": nan_to_none(recall) for threshold, recall in named}

    return {
        "images": result.images,
        "objects": result.objects,
        "proposals": [
            {
                "count": int(count),
                "mean_proposals": nan_to_none(proposals),
                "recall": by_threshold(recalls),
                "average_recall": nan_to_none(average),
            }
            for count, proposals, recalls, average in zip(
                result.counts, result.mean_proposals, result.recalls, result.average_recalls, strict=True
            )
        ],
        "classes": {
            entry.class_name: {
                "objects": entry.objects,
                "proposals": [
                    {"count": int(count), "recall": by_threshold(recalls)}
                    for count, recalls in zip(result.counts, entry.recalls, strict=True)
                ],
            }
            for entry in result.classes
        },
    }


def recall_from_json(values: dict) -> RecallResult:
    """The result that `recall_to_json` turned into plain values, with NaN for None; thresholds have two decimals."""
    proposals = values["proposals"]

    def recalls(entries: Sequence[dict]) -> np.ndarray:  # (N, T)
        return np.array([[none_to_nan(recall) for recall in entry["recall"].values()] for entry in entries])

    return RecallResult(
        counts=tuple(entry["count"] for entry in proposals),
        iou_thresholds=tuple(map(float, proposals[0]["recall"])),
        recalls=recalls(proposals),
        average_recalls=np.array([none_to_nan(entry["average_recall"]) for entry in proposals]),
        mean_proposals=np.array([none_to_nan(entry["mean_proposals"]) for entry in proposals]),
        objects=values["objects"],
        images=values["images"],
        classes=tuple(
            ClassRecall(name, recalls(of_class["proposals"]), of_class["objects"])
            for name, of_class in values["classes"].items()
        ),
    )
