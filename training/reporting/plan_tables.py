"""The plan of a run as tables for its report: what was chosen and why, and the forecast beside the real times."""

import json
import pathlib
from typing import Any, NamedTuple

from keras_frcnn.facts.files import read_known
from keras_frcnn.facts.pages.tables import Table
from training.run.planning.forecast import BUDGET_FILE, PLAN_FILE, Notes, read_notes

_FIX = "restore it from a backup"


class PlanTables(NamedTuple):
    """What the report shows of a plan."""

    choices: Table
    times: Table | None  # None for a run without a budget
    budget: float  # minutes; 0 without one
    spent: float  # minutes until the report


def plan_tables(folder: pathlib.Path, configuration: dict) -> PlanTables | None:
    """The tables of a run folder, whose config.json holds `configuration`; None for a run without a plan.

    Raises InputError if plan.json or budget.json is damaged.
    """
    path = folder / PLAN_FILE
    if not path.is_file():
        return None

    def read_choices(values: dict) -> tuple[Notes, Table]:
        notes = read_notes(values["plan"], str(path))
        rows = tuple((key, _text(_at(configuration, key)), reason) for key, reason in notes.reasons.items())
        return notes, Table(("field", "value", "reason"), rows)

    notes, choices = read_known(path, read_choices, _FIX)
    if not (folder / BUDGET_FILE).is_file():
        return PlanTables(choices, None, 0.0, 0.0)

    def read(real: dict) -> PlanTables:
        return PlanTables(choices, _times(notes, real["steps"]), real["budget"] / 60, real["spent"] / 60)

    return read_known(folder / BUDGET_FILE, read, _FIX)


def _times(notes: Notes, real: dict[str, Any]) -> Table:
    """The forecast of each step beside what it came to."""
    rows = []
    for step in notes.forecast.steps:
        done = real.get(step.name, {})
        minutes = "" if done.get("seconds") is None else f"{done['seconds'] / 60:.1f}"
        iterations = str(done.get("iterations", ""))
        rows.append((step.name, str(step.iterations), iterations, f"{step.seconds / 60:.1f}", minutes))
    header = ("step", "planned iterations", "iterations", "planned minutes", "minutes")
    return Table(header, tuple(rows))


def _at(configuration: dict, key: str) -> Any:
    """The value of a field such as "detector.image.short_side"."""
    value: Any = configuration
    for name in key.split("."):
        value = value[name]
    return value


def _text(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join(one if isinstance(one, str) else json.dumps(one) for one in values)
