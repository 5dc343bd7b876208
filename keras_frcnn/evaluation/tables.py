"""Evaluation results as plain-text tables for people and as plain values for JSON files."""

import math
from collections.abc import Callable, Sequence

from keras_frcnn.evaluation.recall import RecallResult
from keras_frcnn.evaluation.voc_ap import VOCResult

AP_HEADER = ("class", "AP 11-point", "AP area", "objects", "detections")
SHOWN_IOU_THRESHOLDS = (0.5, 0.7)  # of the recall table; the JSON form has all


def ap_rows(result: VOCResult, written: Callable[[float], str]) -> list[tuple[str, ...]]:
    """A row under AP_HEADER for each class, and the means last.

    `written` turns a figure, nan where there is none, into text.
    """
    rows = [
        (entry.class_name, written(entry.ap_11point), written(entry.ap_area), str(entry.objects), str(entry.detections))
        for entry in result.classes
    ]
    objects = sum(entry.objects for entry in result.classes)
    detections = sum(entry.detections for entry in result.classes)
    return [*rows, ("mean", written(result.mean_11point), written(result.mean_area), str(objects), str(detections))]


def format_ap_table(result: VOCResult) -> str:
    """A row for each class, the means last, and a line on the classes that are left out of them."""
    *rows, means = ap_rows(result, number)
    table = format_table(AP_HEADER, rows, [means])
    notes = [f"PASCAL VOC, IoU > {result.iou_threshold:g}, {result.images} images; difficult objects not counted."]
    if result.classes_without_objects:
        notes.append(f"No objects, left out of the mean: {', '.join(result.classes_without_objects)}.")
    return "\n".join([table, *notes]) + "\n"


def format_recall_table(result: RecallResult) -> str:
    """A row for each number of proposals: recall at IoU 0.5 and 0.7, and the mean over all thresholds.

    Then one for each class.
    """
    shown = [
        (column, threshold)
        for column, threshold in enumerate(result.iou_thresholds)
        if threshold in SHOWN_IOU_THRESHOLDS
    ]
    first, last = result.iou_thresholds[0], result.iou_thresholds[-1]
    header = (
        "proposals", "per image", *(f"IoU {threshold:.2f}" for _, threshold in shown), f"IoU {first:.2f}:{last:.2f}"
    )
    rows = [
        (
            str(count),
            "-" if math.isnan(proposals) else f"{proposals:.1f}",
            *(number(recalls[column]) for column, _ in shown),
            number(average),
        )
        for count, proposals, recalls, average in zip(
            result.counts, result.mean_proposals, result.recalls, result.average_recalls, strict=True
        )
    ]
    note = f"Recall of {result.objects} objects in {result.images} images; difficult objects not counted."
    class_header, *class_rows = class_recall_rows(recall_to_json(result), number)
    return "\n".join([format_table(header, rows), note, "", format_table(class_header, class_rows)]) + "\n"


def class_recall_rows(recall: dict, written: Callable[[float | None], str]) -> list[tuple[str, ...]]:
    """The header, and a row for each class: recall of its objects at the lowest threshold, by each number of proposals.

    `recall` is what `recall_to_json` gives; `written` turns a figure, None where there is none, into text.
    """
    lowest = min(recall["proposals"][0]["recall"])
    header = (f"class, IoU {lowest}", "objects", *(f"by {entry['count']}" for entry in recall["proposals"]))
    rows = [
        (name, str(of_class["objects"]), *(written(entry["recall"][lowest]) for entry in of_class["proposals"]))
        for name, of_class in recall["classes"].items()
    ]
    return [header, *rows]


def ap_to_json(result: VOCResult) -> dict:
    """Plain values for `json.dump`, nan as None; without the curves, which are as long as the detections."""
    return {
        "iou_threshold": result.iou_threshold,
        "images": result.images,
        "mean_ap_11point": _json_number(result.mean_11point),
        "mean_ap_area": _json_number(result.mean_area),
        "classes_without_objects": list(result.classes_without_objects),
        "classes": {
            entry.class_name: {
                "ap_11point": _json_number(entry.ap_11point),
                "ap_area": _json_number(entry.ap_area),
                "objects": entry.objects,
                "detections": entry.detections,
            }
            for entry in result.classes
        },
    }


def recall_to_json(result: RecallResult) -> dict:
    """Plain values for `json.dump`, nan as None; a list entry for each number of proposals."""

    def by_threshold(recalls):
        named = zip(result.iou_thresholds, recalls, strict=True)
        return {f"{threshold:.2f}": _json_number(recall) for threshold, recall in named}

    return {
        "images": result.images,
        "objects": result.objects,
        "proposals": [
            {
                "count": int(count),
                "mean_proposals": _json_number(proposals),
                "recall": by_threshold(recalls),
                "average_recall": _json_number(average),
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


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[Sequence[str]] = ()) -> str:
    """Columns two spaces apart, the first to the left and the others to the right, rules between the three parts."""
    widths = [max(map(len, column)) for column in zip(header, *rows, *footer, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def line(cells):
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others])

    parts = [[line(header)], [line(row) for row in rows], [line(row) for row in footer]]
    return f"\n{rule}\n".join("\n".join(part) for part in parts if part)


def number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
