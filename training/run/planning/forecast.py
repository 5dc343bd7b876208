"""The forecast of a run: how long each of its parts takes.  A plan makes it, and a run with a budget keeps to it.

This module imports nothing heavy, so that the options of training can be read at once.
"""

from typing import Any, NamedTuple

from keras_frcnn.facts.errors import InputError

PLAN_FILE = "plan.json"  # in the run folder: what was chosen, why, and the forecast
BUDGET_FILE = "budget.json"  # in the run folder: the time that was spent, and the iterations of each step


class StepForecast(NamedTuple):
    """One step; all times in seconds."""

    name: str
    iterations: int  # mini-batches
    seconds_per_iteration: float
    before: float  # tracing, and storing features
    after: float  # making proposals, and measuring

    @property
    def seconds(self) -> float:
        """All of the step."""
        return self.before + self.iterations * self.seconds_per_iteration + self.after


class Forecast(NamedTuple):
    """A whole run; all times in seconds."""

    budget: float  # the time that the run may take
    start: float  # before the first step: reading the data, checking the pictures, planning, building the model
    steps: tuple[StepForecast, ...]
    end: float  # after the last step: the model file and the report

    @property
    def seconds(self) -> float:
        """All of the run."""
        return self.start + sum(step.seconds for step in self.steps) + self.end


def forecast_to_json(forecast: Forecast) -> dict[str, Any]:
    """Plain dicts, lists and numbers, ready for JSON."""
    return {**forecast._asdict(), "steps": [step._asdict() for step in forecast.steps]}


def forecast_from_json(values: dict[str, Any]) -> Forecast:
    """The inverse of `forecast_to_json`."""
    return Forecast(**{**values, "steps": tuple(StepForecast(**step) for step in values["steps"])})


class Notes(NamedTuple):
    """The section "plan" of a plan file."""

    forecast: Forecast
    reasons: dict[str, str]  # by the key of the chosen setting
    values: dict[str, Any]  # the whole section


def read_notes(values: Any, where: str) -> Notes:
    """The section "plan" of a file; raises InputError, which names `where`, if it has another form."""
    try:
        forecast = forecast_from_json(values["forecast"])
        reasons = {str(key): str(reason) for key, reason in values["reasons"].items()}
        empty = any(step.iterations < 1 or not step.seconds_per_iteration > 0 for step in forecast.steps)
        if empty or not forecast.seconds > 0 or not forecast.budget > 0:
            raise ValueError("no time or no iterations")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fix = "make the plan again with python -m training.plan, or remove the section and --budget"
        raise InputError(f"{where}, field plan", f"is not the section of a plan ({error!r})", fix) from error
    return Notes(forecast, reasons, values)
