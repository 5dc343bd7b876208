"""The error analysis as tables, for the terminal and the page, and as plain values for JSON files."""

import numpy as np

from keras_frcnn.evaluation.error_analysis.analysis import ErrorAnalysis
from keras_frcnn.evaluation.error_analysis.best_f1 import BestF1
from keras_frcnn.evaluation.error_analysis.labels import CAUSES, KINDS, SIZES, object_sizes
from keras_frcnn.facts.files import nan_to_none
from keras_frcnn.facts.pages.tables import Table, format_table, number


def cost_table(analysis: ErrorAnalysis, missing: str = "-") -> Table:
    """A row for each kind of error: how many there are, and the mAP without them.

    `missing` stands for a number that is NaN.
    """
    rows = tuple(
        (
            entry.kind,
            str(entry.false_positives),
            str(entry.misses),
            number(entry.mean_ap, missing=missing),
            number(entry.cost, missing=missing),
        )
        for entry in analysis.costs
    )
    false_positives = sum(entry.false_positives for entry in analysis.costs)
    misses = sum(entry.misses for entry in analysis.costs)
    fixed = (number(value, missing=missing) for value in (analysis.fixed_ap, analysis.fixed_ap - analysis.mean_ap))
    footer = ("all errors", str(false_positives), str(misses), *fixed)
    return Table(("error", "false positives", "misses", "mAP if fixed", "gain"), rows, (footer,))


def class_cost_table(analysis: ErrorAnalysis, missing: str = "-") -> Table:
    """A row for each class: the AP that fixing each kind of error would give back."""
    columns = [entry.class_costs for entry in analysis.costs]
    rows = tuple(
        (name, *(number(costs[row], missing=missing) for costs in columns))
        for row, name in enumerate(analysis.class_names)
    )
    return Table(("gain of AP", *KINDS), rows)


def miss_table(analysis: ErrorAnalysis) -> Table:
    """A row for each cause of misses, a column for each size; the footer has the misses and the objects of each size.

    Causes without misses are left out.
    """
    misses = analysis.errors.misses
    rows = tuple(
        (cause, *_counts_by_size(misses.sizes[misses.causes == cause]))
        for cause in CAUSES
        if np.any(misses.causes == cause)
    )
    objects = analysis.errors.objects
    footer = (
        ("all misses", *_counts_by_size(misses.sizes)),
        ("objects", *_counts_by_size(object_sizes(objects.areas[~objects.difficult]))),
    )
    return Table(("cause of misses", *SIZES, "all"), rows, footer)


def _counts_by_size(sizes: np.ndarray) -> tuple[str, ...]:
    """How many of `sizes`, (G,) str, are of each size, and how many there are."""
    return (*(str(np.sum(sizes == size)) for size in SIZES), str(len(sizes)))


def confusion_table(analysis: ErrorAnalysis) -> Table:
    """The confusion matrix: a row for each true class, a column for each detected class.

    The column "missed" and the row "background" are last; their common cell is empty.
    """
    order = [*range(1, len(analysis.confusion)), 0]
    names = (*analysis.class_names, "background")
    counts = analysis.confusion[np.ix_(order, order)]
    rows = [(name, *map(str, row)) for name, row in zip(names, counts, strict=True)]
    rows[-1] = (*rows[-1][:-1], "")
    return Table(("true class", *analysis.class_names, "missed"), tuple(rows[:-1]), (rows[-1],))


def best_f1_table(analysis: ErrorAnalysis, missing: str = "-") -> Table:
    """A row for each class: the score threshold of its best F1; the footer has one threshold for all classes."""
    rows = tuple(
        (entry.class_name, *(number(value, missing=missing) for value in entry[1:])) for entry in analysis.best_f1
    )
    return Table(("class", "score threshold", "F1", "precision", "recall"), rows[:-1], rows[-1:])


def format_error_analysis(analysis: ErrorAnalysis) -> str:
    """The tables of costs, misses and thresholds as plain text.  The confusion matrix is too wide for a terminal."""
    foreground, background = analysis.thresholds.foreground, analysis.thresholds.background
    notes = f"Errors after TIDE, IoU {foreground:g} and {background:g}; mAP (area) is {number(analysis.mean_ap)}."
    tables = [f"{format_table(cost_table(analysis))}\n{notes}", format_table(miss_table(analysis))]
    return "\n\n".join([*tables, format_table(best_f1_table(analysis))]) + "\n"


def errors_to_json(analysis: ErrorAnalysis) -> dict:
    """Plain values for `json.dump`, with None for NaN.  The confusion matrix has "background" and "missed" last."""
    misses = analysis.errors.misses
    order = [*range(1, len(analysis.confusion)), 0]
    return {
        "thresholds": analysis.thresholds._asdict(),
        "mean_ap_area": nan_to_none(analysis.mean_ap),
        "mean_ap_area_all_fixed": nan_to_none(analysis.fixed_ap),
        "costs": {
            entry.kind: {
                "false_positives": entry.false_positives,
                "misses": entry.misses,
                "mean_ap_area_if_fixed": nan_to_none(entry.mean_ap),
                "gain": nan_to_none(entry.cost),
                "gain_of_classes": dict(zip(analysis.class_names, map(nan_to_none, entry.class_costs), strict=True)),
            }
            for entry in analysis.costs
        },
        "misses": {
            cause: {size: int(np.sum((misses.causes == cause) & (misses.sizes == size))) for size in SIZES}
            for cause in CAUSES
        },
        "confusion_matrix": {
            "score_threshold": analysis.score_threshold,
            "true_classes": [*analysis.class_names, "background"],
            "detected_classes": [*analysis.class_names, "missed"],
            "counts": analysis.confusion[np.ix_(order, order)].tolist(),
        },
        "best_f1": {
            "classes": {entry.class_name: _best_f1_values(entry) for entry in analysis.best_f1[:-1]},
            "all_classes": _best_f1_values(analysis.best_f1[-1]),
        },
    }


def _best_f1_values(entry: BestF1) -> dict[str, float | None]:
    """The numbers of one class by their names."""
    return {name: nan_to_none(value) for name, value in entry._asdict().items() if name != "class_name"}
