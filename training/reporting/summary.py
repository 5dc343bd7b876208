"""The figures that stand for a run's evaluations, and the table of them."""

import math
from collections.abc import Callable, Sequence

from keras_frcnn.evaluation.tables import format_table, number

_MEASURES = ("recall@300", "mAP 11-point", "mAP area")
HEADER = ("training", "steps", "images", "minutes", *_MEASURES)


def headlines(result: dict) -> dict[str, float]:
    """The figures of an evaluation that stand for it; nan where there is nothing to measure."""
    figures = {}
    if "recall" in result:
        (entry,) = (entry for entry in result["recall"]["proposals"] if entry["count"] == 300)
        figures["recall@300"] = entry["recall"]["0.50"]
    if "ap" in result:
        figures |= {"mAP 11-point": result["ap"]["mean_ap_11point"], "mAP area": result["ap"]["mean_ap_area"]}
    return {name: math.nan if value is None else value for name, value in figures.items()}


def summary_rows(results: Sequence[dict], written: Callable[[float | None], str]) -> list[tuple[str, ...]]:
    """A row under HEADER for each evaluation: what was trained, for how long, and what came of it.

    `written` turns a figure, None where it was not measured, into text.
    """
    rows = []
    for result in results:
        training, figures = result["training"], headlines(result)
        counts = (str(training["steps"]), str(training["images"]), f"{training['minutes']:.1f}")
        rows.append((result["title"], *counts, *(written(figures.get(name)) for name in _MEASURES)))
    return rows


def summary_table(results: Sequence[dict]) -> str:
    return format_table(HEADER, summary_rows(results, lambda figure: "" if figure is None else number(figure)))
