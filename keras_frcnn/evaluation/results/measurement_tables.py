"""A measurement as text tables and as plain values for a JSON file.  The leading metric comes first in both."""

import math
from typing import Any, NamedTuple

from keras_frcnn.evaluation.intervals.bootstrap import LEVEL, Interval, Intervals
from keras_frcnn.evaluation.metrics.coco_ap import COCOResult, Figures
from keras_frcnn.evaluation.metrics.names import METRICS, TITLES
from keras_frcnn.evaluation.results.measurement import SEED, Measurement
from keras_frcnn.evaluation.results.tables import (
    Table,
    ap_to_json,
    format_ap_table,
    format_recall_table,
    format_table,
    number,
    recall_to_json,
)
from keras_frcnn.facts.files import nan_to_none

# Of COCO's twelve figures: title, IoU, size of the objects, most detections of an image and class.
COCO_ROWS = {
    "ap": ("AP", "0.50:0.95", "all", 100),
    "ap50": ("AP50", "0.50", "all", 100),
    "ap75": ("AP75", "0.75", "all", 100),
    "ap_small": ("AP small", "0.50:0.95", "small", 100),
    "ap_medium": ("AP medium", "0.50:0.95", "medium", 100),
    "ap_large": ("AP large", "0.50:0.95", "large", 100),
    "ar1": ("AR1", "0.50:0.95", "all", 1),
    "ar10": ("AR10", "0.50:0.95", "all", 10),
    "ar100": ("AR100", "0.50:0.95", "all", 100),
    "ar_small": ("AR small", "0.50:0.95", "small", 100),
    "ar_medium": ("AR medium", "0.50:0.95", "medium", 100),
    "ar_large": ("AR large", "0.50:0.95", "large", 100),
}
_CLASS_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100")  # the columns of a class
_RECALL_COUNT, _RECALL_IOU = 300, 0.5  # the recall among the main figures: the paper's number of proposals
_INTERVAL = f"{LEVEL:.0%} interval"


class MainFigure(NamedTuple):
    """One of the few figures that sum up a measurement."""

    title: str
    value: float
    interval: Interval | None  # None if none were asked for


def main_figures(measurement: Measurement) -> list[MainFigure]:
    """The mean of each metric, that of the leading metric first; then the recall of proposals, if there are any."""
    voc, coco, intervals = measurement.voc, measurement.coco, measurement.intervals
    figures = {
        "voc07": MainFigure(TITLES["voc07"], voc.mean_11point, intervals and intervals.voc.means["ap_11point"]),
        "voc": MainFigure(TITLES["voc"], voc.mean_area, intervals and intervals.voc.means["ap_area"]),
        "coco": MainFigure(TITLES["coco"], coco.figures.ap, intervals and intervals.coco.means["ap"]),
    }
    ordered = [figures[measurement.metric], *(figures[name] for name in METRICS if name != measurement.metric)]
    recall = measurement.recall
    if recall is None or _RECALL_COUNT not in recall.counts or _RECALL_IOU not in recall.iou_thresholds:
        return ordered
    place = recall.counts.index(_RECALL_COUNT), recall.iou_thresholds.index(_RECALL_IOU)
    title = f"recall of {_RECALL_COUNT} proposals, IoU {_RECALL_IOU:.2f}"
    interval = None if intervals is None or intervals.recall is None else Interval(*intervals.recall[place])
    return [*ordered, MainFigure(title, float(recall.recalls[place]), interval)]


def main_table(measurement: Measurement) -> Table:
    """A row for each main figure; the footer has the leading metric of each class."""
    rows = tuple((one.title, number(one.value), _interval(one.interval)) for one in main_figures(measurement))
    title = TITLES[measurement.metric].replace(" mean", "")
    classes = tuple(
        (f"{title}: {name}", number(value), _interval(interval))
        for name, (value, interval) in _leading_classes(measurement).items()
    )
    return Table(("figure", "value", _INTERVAL), rows, classes)


def _leading_classes(measurement: Measurement) -> dict[str, tuple[float, Interval | None]]:
    """The leading metric of each class, with its interval."""
    metric, intervals = measurement.metric, measurement.intervals
    if metric == "coco":
        figure, part = "ap", intervals and intervals.coco
        values = {entry.class_name: entry.figures.ap for entry in measurement.coco.classes}
    else:
        figure, part = {"voc07": "ap_11point", "voc": "ap_area"}[metric], intervals and intervals.voc
        values = {entry.class_name: getattr(entry, figure) for entry in measurement.voc.classes}
    return {name: (value, None if part is None else part.classes[name][figure]) for name, value in values.items()}


def coco_table(result: COCOResult, intervals: Intervals | None = None) -> Table:
    """A row for each of the twelve figures."""
    rows = tuple(
        (title, iou, size, str(most), number(value), _interval(intervals and intervals.means[name]))
        for (name, (title, iou, size, most)), value in zip(COCO_ROWS.items(), result.figures, strict=True)
    )
    return Table(("COCO", "IoU", "objects", "detections", "value", _INTERVAL), rows)


def coco_class_table(result: COCOResult) -> Table:
    """A row for each class."""
    rows = tuple(
        (
            entry.class_name,
            *(number(getattr(entry.figures, name)) for name in _CLASS_FIGURES),
            str(entry.objects),
            str(entry.detections),
        )
        for entry in result.classes
    )
    return Table(("class", *(COCO_ROWS[name][0] for name in _CLASS_FIGURES), "objects", "detections"), rows)


def format_coco(result: COCOResult, intervals: Intervals | None = None) -> str:
    """The twelve figures and the table of the classes as plain text."""
    note = f"COCO, {result.images} images; crowd regions and difficult objects not counted."
    return f"{format_table(coco_table(result, intervals))}\n\n{format_table(coco_class_table(result))}\n{note}\n"


def format_measurement(measurement: Measurement) -> str:
    """All tables as plain text, those of the leading metric first."""
    intervals = measurement.intervals
    voc = format_ap_table(measurement.voc)
    coco = format_coco(measurement.coco, intervals and intervals.coco)
    parts = [format_table(main_table(measurement)) + "\n" + _note(measurement)]
    parts += [coco, voc] if measurement.metric == "coco" else [voc, coco]
    if measurement.recall is not None:
        parts.append(format_recall_table(measurement.recall))
    return "\n".join(parts)


def measurement_to_json(measurement: Measurement) -> dict[str, Any]:
    """Plain values for `json.dump`, with None for NaN."""
    leading = main_figures(measurement)[0]
    parts = {"ap": ap_to_json(measurement.voc), "coco": coco_to_json(measurement.coco)}
    first = ["coco", "ap"] if measurement.metric == "coco" else ["ap", "coco"]
    values: dict[str, Any] = {
        "metric": measurement.metric,
        "leading": {"title": leading.title, "value": nan_to_none(leading.value), "interval": _ends(leading.interval)},
        **{name: parts[name] for name in first},
    }
    if measurement.recall is not None:
        values["recall"] = recall_to_json(measurement.recall)
    if measurement.intervals is not None:
        values["intervals"] = _intervals_to_json(measurement)
    return values


def coco_to_json(result: COCOResult) -> dict[str, Any]:
    """Plain values for `json.dump`, with None for NaN."""

    def plain(figures: Figures) -> dict[str, float | None]:
        return {name: nan_to_none(value) for name, value in figures._asdict().items()}

    return {
        **plain(result.figures),
        "images": result.images,
        "classes": {
            entry.class_name: {**plain(entry.figures), "objects": entry.objects, "detections": entry.detections}
            for entry in result.classes
        },
    }


def _intervals_to_json(measurement: Measurement) -> dict[str, Any]:
    intervals, recall = measurement.intervals, measurement.recall
    assert intervals is not None
    values: dict[str, Any] = {"level": LEVEL, "resamples": intervals.resamples, "seed": SEED}
    for name, part in (("ap", intervals.voc), ("coco", intervals.coco)):
        values[name] = {
            "means": {figure: _ends(interval) for figure, interval in part.means.items()},
            "classes": {
                class_name: {figure: _ends(interval) for figure, interval in figures.items()}
                for class_name, figures in part.classes.items()
            },
        }
    if recall is not None and intervals.recall is not None:
        values["recall"] = [
            {
                "count": int(count),
                "recall": {
                    f"{iou:.2f}": _ends(Interval(*ends)) for iou, ends in zip(recall.iou_thresholds, row, strict=True)
                },
            }
            for count, row in zip(recall.counts, intervals.recall, strict=True)
        ]
    return values


def _note(measurement: Measurement) -> str:
    if measurement.intervals is None:
        return ""
    samples = f"bootstrap over the images, {measurement.intervals.resamples} samples"
    return f"Intervals: {samples}.  They describe the choice of test images.\n"


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None or math.isnan(interval.low) else f"{interval.low:.3f} to {interval.high:.3f}"


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [nan_to_none(interval.low), nan_to_none(interval.high)]
