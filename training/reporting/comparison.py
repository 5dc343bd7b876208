"""The comparison of runs: a table for the terminal, and a page.

Plots and tables call the runs A, B, C and so on, in the order in which they are given.
"""

import math
import pathlib
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import none_to_nan, read_known, refuse_folder
from keras_frcnn.facts.pages.rendering import MISSING, write_page
from keras_frcnn.facts.pages.tables import Table, format_table, number
from training.reporting.curves import Curve, read_curves
from training.reporting.plots import curves_plot, recalls_plot
from training.reporting.report import option_rows, read_configuration
from training.reporting.summary import TrainingResult, joined, read_result, training_table

MOST_RUNS = len(string.ascii_uppercase)

_TEMPLATE = pathlib.Path(__file__).parent / "compare.html.j2"
_FIX = "restore it from a backup, or leave this run out"
_LOSS = "losses/loss"  # the tag of the whole loss


class FinishedRun(NamedTuple):
    """What a run folder says about its training."""

    letter: str
    folder: str
    configuration: dict[str, Any]  # config.json
    val_set: Any  # the fingerprint of the validation set
    results: tuple[TrainingResult, ...]  # of each evaluation, in order
    class_aps: dict[str, float]  # area AP by the name of the class, after the last measured detector
    curves: dict[str, dict[str, Curve]]  # title of a training -> tag -> curve


class Comparison(NamedTuple):
    """What the page shows."""

    runs: tuple[FinishedRun, ...]
    notes: tuple[str, ...]
    trainings: Table
    classes: Table
    recalls: bytes | None  # SVG
    losses: dict[str, bytes]  # title of a training -> SVG
    options: Table


def compare(folders: Sequence[str], out: str) -> None:
    """Print the table of the runs and write the page.

    Raises:
      InputError: a folder is not that of a run, a file of it is damaged, there are too many runs, or `out` cannot be
        written.
    """
    if len(folders) > MOST_RUNS:
        raise InputError("--compare", f"{len(folders)} runs are too many for one page", f"give {MOST_RUNS} at most")
    refuse_folder(out, "give the name of a file with --out")
    runs = tuple(_read(folder, letter) for folder, letter in zip(folders, string.ascii_uppercase, strict=False))
    page = compared(runs)
    for run in runs:
        print(f"{run.letter}: {run.folder}")
    print(f"\n{format_table(page.trainings)}")
    for note in page.notes:
        print(f"note: {note}")
    path = pathlib.Path(out)
    try:
        write_page(path, _TEMPLATE, page._asdict())
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "give another file with --out") from error
    print(f"\nPage: {path}")


def compared(runs: Sequence[FinishedRun]) -> Comparison:
    """The tables and plots of some runs."""
    return Comparison(
        runs=tuple(runs),
        notes=tuple(_notes(runs)),
        trainings=_trainings(runs),
        classes=_classes(runs),
        recalls=_recalls(runs),
        losses=_losses(runs),
        options=_options(runs),
    )


def _read(folder: str, letter: str) -> FinishedRun:
    path = pathlib.Path(folder)
    if not (path / "config.json").is_file():
        raise InputError(folder, "is not a run folder", "give a folder in which a training ran")
    files = sorted((path / "evaluation").glob("*.json"))
    measured = [read_known(file, _read_measured, _FIX) for file in files]
    results: dict[str, TrainingResult] = {}
    for result, _ in sorted(measured, key=lambda entry: entry[1] is not None):  # first those of the RPNs
        results[result.name] = joined(results[result.name], result) if result.name in results else result
    class_aps: dict[str, float] = next((aps for _, aps in reversed(measured) if aps is not None), {})
    return FinishedRun(
        letter,
        folder,
        read_configuration(path, _FIX),
        read_known(path / "data.json", lambda values: values["val"], _FIX),
        tuple(results[name] for name in sorted(results)),
        class_aps,
        {result.title: read_curves(path / "logs" / name) for name, result in sorted(results.items())},
    )


def _read_measured(values: dict) -> tuple[TrainingResult, dict[str, float] | None]:
    """The result and, of a detector, the area AP of each class."""
    aps = None
    if "ap" in values:
        aps = {name: none_to_nan(of_class["ap_area"]) for name, of_class in values["ap"]["classes"].items()}
    return read_result(values), aps


def _notes(runs: Sequence[FinishedRun]) -> list[str]:
    """What makes the figures hard to compare."""
    first, *others = runs
    notes = [
        f"{run.letter} was measured on other pictures or other annotations than {first.letter}"
        for run in others
        if run.val_set != first.val_set
    ]
    return notes + [f"{run.letter} has no measured detector yet" for run in runs if not run.class_aps]


def _trainings(runs: Sequence[FinishedRun]) -> Table:
    """A row for each evaluation of each run."""
    table = training_table([result for run in runs for result in run.results], missing=MISSING, not_measured="")
    letters = [run.letter for run in runs for _ in run.results]
    rows = tuple((letter, *row) for letter, row in zip(letters, table.rows, strict=True))
    return Table(("run", *table.header), rows)


def _classes(runs: Sequence[FinishedRun]) -> Table:
    """A row for each class with its AP in each run; the footer has the means."""
    names = dict.fromkeys(name for run in runs for name in run.class_aps)

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return (name, *(number(value, missing=MISSING) for value in values))

    rows = tuple(row(name, [run.class_aps.get(name, math.nan) for run in runs]) for name in names)
    means = row("mean", [_mean(list(run.class_aps.values())) for run in runs])
    return Table(("class, AP area", *(run.letter for run in runs)), rows, (means,))


def _mean(values: Sequence[float]) -> float:
    """The mean without NaN; NaN if nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _recalls(runs: Sequence[FinishedRun]) -> bytes | None:
    """Recall of the last measured proposals of each run."""
    measured = {run.letter: [result.recall for result in run.results if result.recall is not None] for run in runs}
    last = {letter: recalls[-1] for letter, recalls in measured.items() if recalls}
    return recalls_plot(last) if last else None


def _losses(runs: Sequence[FinishedRun]) -> dict[str, bytes]:
    """The loss of each training, with a curve for each run that has it."""
    titles = dict.fromkeys(title for run in runs for title, curves in run.curves.items() if _LOSS in curves)
    return {
        title: curves_plot({run.letter: run.curves[title][_LOSS] for run in runs if _LOSS in run.curves.get(title, {})})
        for title in titles
    }


def _options(runs: Sequence[FinishedRun]) -> Table:
    """The options and fields of the detector that are not the same in all runs."""
    by_run = [
        dict(row for kind in ("options", "detector") for row in option_rows(run.configuration[kind], f"{kind}."))
        for run in runs
    ]
    fields = dict.fromkeys(field for values in by_run for field in values)
    rows = tuple((field, *(values.get(field, MISSING) for values in by_run)) for field in fields)
    differing = tuple(row for row in rows if len(set(row[1:])) > 1)
    return Table(("field", *(run.letter for run in runs)), differing)
