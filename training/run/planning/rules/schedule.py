"""The schedule: how the time budget is divided, and how many iterations that gives each step."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from keras_frcnn.facts.errors import InputError
from training.four_steps import Step
from training.run.options.duration import duration_text
from training.run.planning.budget import MOST_GROWTH
from training.run.planning.costs import Costs, kind_of
from training.run.planning.forecast import Forecast, StepForecast

# How the time of the iterations is divided among the steps, by the parts that they train.
SHARES = {
    "backbone+rpn": 0.15,
    "backbone+head": 0.6,
    "rpn": 0.08,
    "head": 0.17,
    "rpn+head": 0.25,
    "backbone+rpn+head": 1.0,
}
FEWEST_UPDATES = 50  # of the weights in a step that trains the backbone; with fewer, the budget is refused as too small

_BUILDING = 5.0  # seconds to build the model, before the first step
_STEP = 6.0  # seconds of a step for checkpoints and for the pictures in TensorBoard
_END = 15.0  # seconds for the model file and the report
_GRAPHS = 2  # traced before the first iteration: that of the gradients and that of the update


class Work(NamedTuple):
    """The data of a run."""

    pixels: float  # of a resized training picture, mean
    train: int  # pictures to train on
    val: int  # pictures to measure on
    stores_features: bool


def fit_schedule(
    steps: Sequence[Step], costs: Costs, work: Work, budget: float, spent: float, mini_batches: int = 1
) -> Forecast:
    """The forecast of a run that takes the whole budget.

    Args:
      steps: the table of steps; its iterations do not matter.
      costs: of this machine.
      work: the data.
      budget: seconds in all.
      spent: seconds of it until the first step, planning included.
      mini_batches: that an update of the weights takes, those of all replicas.

    Raises:
      InputError: the budget is too small.
    """
    shares = [SHARES[kind_of(step.trains)] for step in steps]

    def with_training_time(seconds: float) -> Forecast:
        return forecast_of(steps, _iterations(steps, shares, costs, work, seconds), costs, work, budget, spent)

    # More time for iterations is more time in all, so bisection finds the time that uses up the budget.
    low, high = 0.0, budget
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if with_training_time(middle).seconds <= budget else (low, middle)
    forecast, fewest = with_training_time(low), FEWEST_UPDATES * mini_batches
    short = [
        step.name
        for step, planned in zip(steps, forecast.steps, strict=True)
        if "backbone" in step.trains and planned.iterations < fewest
    ]
    if short or forecast.seconds > budget * 1.01:
        least = 60 * math.ceil(_least_budget(steps, shares, costs, work, spent, fewest) / 60)
        problem = f"a budget of {duration_text(budget)} is too short for this data on this machine"
        raise InputError("--budget", problem, f"give at least {duration_text(least)}")
    return forecast


def _least_budget(
    steps: Sequence[Step], shares: Sequence[float], costs: Costs, work: Work, spent: float, fewest: int
) -> float:
    """The seconds of the shortest run in which every step that trains the backbone has `fewest` iterations."""
    training = max(
        fewest * _iteration_seconds(step, costs, work) * sum(shares) / share
        for step, share in zip(steps, shares, strict=True)
        if "backbone" in step.trains
    )
    iterations = [count + 1 for count in _iterations(steps, shares, costs, work, training)]  # rounding may take one
    return 1.1 * forecast_of(steps, iterations, costs, work, 0.0, spent).seconds


def _iterations(steps: Sequence[Step], shares: Sequence[float], costs: Costs, work: Work, seconds: float) -> list[int]:
    """The iterations of each step if all of them together have this time."""
    return [
        max(1, round(seconds * share / sum(shares) / _iteration_seconds(step, costs, work)))
        for step, share in zip(steps, shares, strict=True)
    ]


def _iteration_seconds(step: Step, costs: Costs, work: Work) -> float:
    seconds = costs.iterations[kind_of(step.trains)].seconds(work.pixels)
    if "backbone" not in step.trains and not work.stores_features:
        seconds += costs.features.seconds(work.pixels)
    return step.images * seconds


def forecast_of(
    steps: Sequence[Step], iterations: Sequence[int], costs: Costs, work: Work, budget: float, spent: float
) -> Forecast:
    """How long each part of a run takes in which the steps have these numbers of iterations."""
    features = costs.features.seconds(work.pixels)
    proposals, detections = costs.proposals.seconds(work.pixels), costs.detections.seconds(work.pixels)
    stored_train, stored_val, forecasts = 0, 0, []
    for step, count in zip(steps, iterations, strict=True):
        stores = work.stores_features and "backbone" not in step.trains
        before, after = _GRAPHS * costs.tracing + _STEP, 0.0
        if stores:
            used = min(2 * work.train, count * step.images)  # each picture and its mirror image
            before += features * max(0, used - stored_train)
            stored_train = max(stored_train, used)
        uncached_train = work.train - (min(work.train, stored_train // 2) if stores else 0)
        uncached_val = work.val - (stored_val if stores else 0)
        users = [(other, n) for other, n in zip(steps, iterations, strict=True) if other.proposals_from == step.name]
        if users:
            made = min(work.train, max(math.ceil(MOST_GROWTH * n) * other.images for other, n in users))
            after += costs.tracing + features * min(made, uncached_train) + proposals * made
        if "rpn" in step.trains:
            after += costs.tracing + features * uncached_val + proposals * work.val
            stored_val, uncached_val = (work.val, 0) if stores else (0, uncached_val)
        if "head" in step.trains:
            after += costs.tracing + features * uncached_val + detections * work.val
        seconds = _iteration_seconds(step, costs, work)
        forecasts.append(StepForecast(step.name, count, seconds, before, after))
    return Forecast(budget, spent + _BUILDING, tuple(forecasts), _END)


def measuring_seconds(steps: Sequence[Step], costs: Costs, work: Work) -> float:
    """The seconds to measure on one picture after all steps, convolutions included."""
    features = costs.features.seconds(work.pixels)
    rpn = sum("rpn" in step.trains for step in steps) * (features + costs.proposals.seconds(work.pixels))
    head = sum("head" in step.trains for step in steps) * (features + costs.detections.seconds(work.pixels))
    return rpn + head
