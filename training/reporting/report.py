"""The report of a finished run: one page, report.html, that opens offline.

This module gathers what the page shows; page.html.j2 has its layout and its words.
"""

import datetime
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.api.drawing import SHOWN_SCORE
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import ClassAP, VOCResult
from keras_frcnn.evaluation.results.tables import ap_table, class_recall_table, recall_table
from keras_frcnn.facts.files import read_known
from keras_frcnn.facts.pages.rendering import MISSING, write_page
from keras_frcnn.facts.pages.tables import Table
from training.reporting.curves import Curve, curves_by_quantity, read_curves
from training.reporting.judged_pictures import JudgedPicture, judged_pictures
from training.reporting.plan_tables import PlanTables, plan_tables
from training.reporting.plots import CURVE_POINTS, curves_plot, precision_recall_plot, recall_plot
from training.reporting.summary import SUMMARY_PROPOSALS, TrainingResult, training_table, validation_table

_SECTIONS = ("options", "detector")  # of config.json
_TEMPLATE = pathlib.Path(__file__).parent / "page.html.j2"


class ProposalRecall(NamedTuple):
    """Recall of the proposals of one RPN."""

    title: str  # of the training
    recall: RecallResult
    plot: bytes  # SVG
    by_count: Table
    by_class: Table


class ClassCurve(NamedTuple):
    """Precision against recall of one class."""

    ap: ClassAP
    plot: bytes | None  # SVG; None where the class has no objects or no detections


class TrainingCurves(NamedTuple):
    """The curves of one training."""

    title: str
    plots: dict[str, bytes]  # the name of each recorded quantity -> SVG


class Page(NamedTuple):
    """What the page shows."""

    options: dict  # of the command line
    val_name: str  # the data set that was measured on
    ended: datetime.datetime | None  # the time of the last TensorBoard record; None where there is none
    written: datetime.datetime
    ap: VOCResult  # of the finished detector
    trainings: Table
    validations: Table  # without rows if there were none
    overtrained: tuple[str, ...]  # titles of trainings whose earlier weights were measured better than those kept
    proposals: tuple[ProposalRecall, ...]
    classes: Table
    class_curves: tuple[ClassCurve, ...]
    training_curves: tuple[TrainingCurves, ...]
    pictures: dict[str, Sequence[JudgedPicture]]  # "best" and "worst"
    plan: PlanTables | None  # None for a run without a plan
    option_tables: dict[str, Table]  # heading -> names and values
    summary_proposals: int
    shown_score: float  # the lowest score of a detection in pictures
    curve_points: int  # the most points of a curve


def write_report(
    folder: pathlib.Path,
    results: Sequence[TrainingResult],
    dataset: Dataset,
    detections: Iterable[ImageDetections],
    ap: VOCResult,
) -> pathlib.Path:
    """Write `folder/report.html` and return its path.

    `results` are the evaluations of the run, in order.  `detections` are those of the
    finished detector on `dataset`, boxes in pixels of the images; an image without a record has no detections.
    `ap` is the evaluation of these detections.  Raises InputError if an image that the page shows cannot be read.
    """
    folder = pathlib.Path(folder)
    page = _gather(folder, results, dataset, detections, ap)
    path = folder / "report.html"
    write_page(path, _TEMPLATE, page._asdict())
    return path


def _gather(
    folder: pathlib.Path,
    results: Sequence[TrainingResult],
    dataset: Dataset,
    detections: Iterable[ImageDetections],
    ap: VOCResult,
) -> Page:
    configuration = read_configuration(folder, "restore it from a backup")
    curves = [read_curves(folder / "logs" / result.name) for result in results]
    records = {record.image_id: record for record in detections}
    in_order = [records.get(example.image_id) or _no_detections(example) for example in dataset.examples]
    best, worst = judged_pictures(dataset, in_order, ap.iou_threshold)
    return Page(
        options=configuration["options"],
        val_name=dataset.name,
        ended=_last_time(curves),
        written=datetime.datetime.now(datetime.UTC),
        ap=ap,
        trainings=training_table(results, missing=MISSING, not_measured=MISSING),
        validations=validation_table(results, missing=MISSING),
        overtrained=tuple(result.title for result in results if _is_overtrained(result)),
        proposals=tuple(
            _proposal_recall(result.title, result.recall) for result in results if result.recall is not None
        ),
        classes=ap_table(ap, missing=MISSING),
        class_curves=tuple(ClassCurve(entry, precision_recall_plot(entry)) for entry in ap.classes),
        training_curves=tuple(
            _training_curves(result.title, by_tag) for result, by_tag in zip(results, curves, strict=True)
        ),
        pictures={"best": best, "worst": worst},
        plan=plan_tables(folder, configuration),
        option_tables={
            "Command line": _option_table("option", configuration["options"]),
            "Detector": _option_table("detector", configuration["detector"]),
        },
        summary_proposals=SUMMARY_PROPOSALS,
        shown_score=SHOWN_SCORE,
        curve_points=CURVE_POINTS,
    )


def _is_overtrained(result: TrainingResult) -> bool:
    """Whether the result has the last weights of a training although earlier ones were measured better."""
    validated = result.validated
    if validated is None or validated.keep == "best":
        return False
    return not validated.scores[-1][1] >= validated.best[1]  # also if the last could not be measured


def _no_detections(example: Example) -> ImageDetections:
    return ImageDetections(example.image_id, np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0))


def _last_time(curves: Iterable[dict[str, Curve]]) -> datetime.datetime | None:
    times = [curve.times.max() for by_tag in curves for curve in by_tag.values()]
    return datetime.datetime.fromtimestamp(max(times), datetime.UTC) if times else None


def _proposal_recall(title: str, recall: RecallResult) -> ProposalRecall:
    tables = (recall_table(recall, missing=MISSING), class_recall_table(recall, missing=MISSING))
    return ProposalRecall(title, recall, recall_plot(recall), *tables)


def _training_curves(title: str, curves: dict[str, Curve]) -> TrainingCurves:
    plots = {quantity: curves_plot(lines) for quantity, lines in curves_by_quantity(curves).items()}
    return TrainingCurves(title, plots)


def _option_table(kind: str, values: dict) -> Table:
    return Table((kind, "value"), tuple(option_rows(values)))


def read_configuration(folder: pathlib.Path, fix: str) -> dict[str, dict]:
    """The sections "options" and "detector" of config.json.  Raises InputError, with `fix`, if it is damaged."""
    return read_known(folder / "config.json", lambda values: {name: values[name] for name in _SECTIONS}, fix)


def option_rows(values: dict, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Names and values of options as texts; the entries of a nested dict have names such as "anchors.scales"."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from option_rows(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
