"""A plan as a file.

It has the form of --config: the sections "options" and "detector" hold what was given and chosen, and can be edited.
A third section, "plan", says why: it holds the reasons, the facts about the data, what the machine can do, and the
forecast that a run with a budget keeps to.
"""

import json
from collections.abc import Mapping
from typing import Any

from keras_frcnn.facts.pages.tables import Table, format_table
from training.run.options.declared import TrainingOptions
from training.run.planning.choice import Plan, choice_lines
from training.run.planning.costs import costs_to_json
from training.run.planning.data_facts import facts_to_json
from training.run.planning.forecast import Forecast, forecast_to_json


def given_to_json(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sections "options" and "detector" with values by key, without the run folder and `--plan`."""
    values: dict[str, Any] = {"options": {}, "detector": {}}
    for key, value in given.items():
        if key not in ("options.run", "options.plan"):
            *sections, name = key.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
    return values


def plan_to_json(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a plan file; `given` are the values by key that the plan was made around."""
    chosen = {choice.key: choice.value for choice in plan.choices}
    values = given_to_json({**given, "options.budget": plan.options.budget, **chosen})
    machine = plan.machine._asdict() | {"costs": costs_to_json(plan.machine.costs)}
    values["plan"] = {
        "reasons": {choice.key: choice.reason for choice in plan.choices},
        "data": facts_to_json(plan.facts),
        "machine": machine,
        "forecast": forecast_to_json(plan.forecast),
    }
    return json.loads(json.dumps(values))


def plan_lines(plan: Plan, kind: type[TrainingOptions]) -> list[str]:
    """The plan as text: each choice as the option that would set it, and the forecast."""
    return [*choice_lines(plan.choices, kind), "", *format_table(forecast_table(plan.forecast)).splitlines()]


def forecast_table(forecast: Forecast) -> Table:
    """The forecast, in minutes."""
    rows = [("before the steps", "", "", f"{forecast.start / 60:.1f}")]
    rows += [
        (step.name, str(step.iterations), f"{step.seconds_per_iteration:.3f}", f"{step.seconds / 60:.1f}")
        for step in forecast.steps
    ]
    rows += [("report", "", "", f"{forecast.end / 60:.1f}"), ("in all", "", "", f"{forecast.seconds / 60:.1f}")]
    return Table(("forecast", "iterations", "seconds each", "minutes"), tuple(rows))
