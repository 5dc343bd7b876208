"""The summary of a run: a table with a row for each training and its evaluation."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import VOCResult
from keras_frcnn.evaluation.results.tables import recall_from_json
from keras_frcnn.facts.files import none_to_nan
from keras_frcnn.facts.pages.tables import Table, format_table, number

SUMMARY_PROPOSALS = 300  # proposals per image of the recall column: the paper's number at test time
_RECALL = f"recall@{SUMMARY_PROPOSALS}"
METRIC_TITLES = {"voc07": "mAP 11-point", "voc": "mAP area", "coco": "COCO AP"}
_ALWAYS = (_RECALL, METRIC_TITLES["voc07"], METRIC_TITLES["voc"])  # columns of every table


class Validated(NamedTuple):
    """How a training was validated on its way."""

    measure: str  # the name of the scores
    scores: tuple[tuple[int, float], ...]  # iteration and score of each validation; NaN if nothing could be measured
    keep: str  # "best" or "last": the weights that are its result

    @property
    def best(self) -> tuple[int, float]:
        """Iteration and score of the best validation, of equal ones the first."""
        return max(self.scores, key=lambda score: -math.inf if math.isnan(score[1]) else score[1])


class TrainingResult(NamedTuple):
    """One training and what the evaluation after it measured."""

    name: str  # of its files in the run folder
    title: str
    iterations: int
    images: int  # an image counts once for each time that it was trained on
    minutes: float
    headlines: dict[str, float]  # see `headlines`
    recall: RecallResult | None  # of the proposals, where an RPN was measured
    table: str  # the result as text
    ap: VOCResult | None = None  # of a detector; None if it was read from the run folder, which has no curves
    validated: Validated | None = None  # how it was validated on its way; None without validations


def read_result(result: dict) -> TrainingResult:
    """The typed form of one evaluation as the run folder stores it in JSON."""
    training = result["training"]
    return TrainingResult(
        name=result["name"],
        title=result["title"],
        iterations=training["iterations"],
        images=training["images"],
        minutes=training["minutes"],
        headlines=headlines(result),
        recall=recall_from_json(result["recall"]) if "recall" in result else None,
        table=result["table"],
        validated=_validated(training.get("validation")),
    )


def joined(rpn: TrainingResult, detector: TrainingResult) -> TrainingResult:
    """One result of a training whose RPN and detector were both measured."""
    return detector._replace(recall=rpn.recall, headlines=rpn.headlines | detector.headlines)


def _validated(values: dict | None) -> Validated | None:
    if values is None or not values["scores"]:
        return None
    scores = [(one["iteration"], none_to_nan(one["value"])) for one in values["scores"]]
    return Validated(values["measure"], tuple(scores), values["keep"])


def validation_table(results: Iterable[TrainingResult], missing: str = "-") -> Table:
    """A row for each training that was validated: its best and its last score, and which weights are the result."""
    rows = []
    for result in results:
        if result.validated is None:
            continue
        measure, scores, keep = result.validated
        (best_at, best), (last_at, last) = result.validated.best, scores[-1]
        cells = (number(best, missing=missing), str(best_at), number(last, missing=missing), str(last_at))
        kept = "the last, which are the best" if best_at == last_at else f"the {keep}"
        rows.append((result.title, measure, *cells, kept))
    return Table(
        ("training", "measure", "best", "after iteration", "last", "after iteration", "weights kept"), tuple(rows)
    )


def headlines(result: dict) -> dict[str, float]:
    """The main numbers of an evaluation by their names; after the recall, the leading metric comes first.

    A measure has no entry where the network was not measured by it, and is NaN where the images have no objects.
    """
    numbers = {}
    if "recall" in result:
        (entry,) = (entry for entry in result["recall"]["proposals"] if entry["count"] == SUMMARY_PROPOSALS)
        numbers[_RECALL] = entry["recall"]["0.50"]
    means = {}
    if "ap" in result:
        means = {"voc07": result["ap"]["mean_ap_11point"], "voc": result["ap"]["mean_ap_area"]}
    if "coco" in result:
        means["coco"] = result["coco"]["ap"]
    leading = result.get("metric")
    numbers |= {METRIC_TITLES[metric]: means[metric] for metric in sorted(means, key=lambda metric: metric != leading)}
    return {name: none_to_nan(value) for name, value in numbers.items()}


def training_table(results: Iterable[TrainingResult], missing: str = "-", not_measured: str = "") -> Table:
    """A row for each training: how long it took, and what its evaluation measured.

    `missing` stands for a number that is NaN, `not_measured` for one that the evaluation does not have.
    """
    results = tuple(results)
    measured = dict.fromkeys(name for result in results for name in result.headlines)
    measures = tuple(dict.fromkeys((_RECALL, *measured, *_ALWAYS)))
    rows = tuple(
        (
            result.title,
            str(result.iterations),
            str(result.images),
            number(result.minutes, digits=1),
            *(
                number(result.headlines[name], missing=missing) if name in result.headlines else not_measured
                for name in measures
            ),
        )
        for result in results
    )
    return Table(("training", "iterations", "images", "minutes", *measures), rows)


def summary_table(results: Iterable[TrainingResult]) -> str:
    """The table of `training_table` as plain text."""
    return format_table(training_table(results))
