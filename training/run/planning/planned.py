"""The plan of a run: made at its first start, and read again when the run is resumed."""

import dataclasses
import logging
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable, read_json, refuse_folder, write_json
from keras_frcnn.network.weights.warm_start import TrainedDetector
from training.engine.distribution import local_strategy
from training.four_steps import Step, with_table
from training.run.folder import check_new
from training.run.options.declared import AlternationOptions, TrainingOptions
from training.run.options.duration import duration_text, seconds_of
from training.run.options.reading import Request, options_from, read_values
from training.run.planning.anchor_trial import anchor_recall
from training.run.planning.choice import Plan
from training.run.planning.forecast import BUDGET_FILE, PLAN_FILE, Forecast, forecast_to_json
from training.run.planning.machine import measure_bfloat16, measure_machine
from training.run.planning.plan_file import given_to_json, plan_lines, plan_to_json
from training.run.planning.planner import Tools, make_plan
from training.run.planning.rules.network import StartFacts
from training.run.start import Planned, RunData, Start, load_start, read_data

_log = logging.getLogger(__name__)

MakeSteps = Callable[[TrainingOptions], Sequence[Step]]


def plan_run(
    request: Request, make_steps: MakeSteps, data: RunData, start: Start, spent: Callable[[], float]
) -> Planned:
    """Make the plan that the request asks for, or take the one that the run folder or the file of --config holds.

    Raises:
      InputError: the budget is too small or is not that of the plan, the folder of a new run is in use, or the plan of
        a run that is resumed is missing or damaged.
    """
    options, folder = request.options, pathlib.Path(request.options.run)
    if options.budget is None and (folder / BUDGET_FILE).exists():
        fix = "give its --plan and --budget again, or another folder with --run"
        raise InputError(folder, "this run was started with a budget", fix)
    if options.plan == "paper" and request.notes is None:
        return Planned(options, None)
    if (folder / "config.json").is_file():
        return _stored(request, folder / PLAN_FILE)
    check_new(folder)
    if options.plan == "auto":
        plan = make(request, make_steps, data, start, spent, folder)
        for line in plan_lines(plan, type(options)):
            _log.info("%s", line)
        return Planned(_settled(plan.options), plan.forecast, plan_to_json(plan, request.values))
    assert request.notes is not None
    _check_budget(
        options, request.notes.forecast, "this plan was made for a budget of", "leave it out, or make a new plan"
    )
    forecast = _with_iterations(request.notes.forecast, make_steps(options), spent())
    file = given_to_json(request.values) | {"plan": request.notes.values | {"forecast": forecast_to_json(forecast)}}
    return Planned(_settled(options), None if options.budget is None else forecast, file)


def make(
    request: Request,
    make_steps: MakeSteps,
    data: RunData,
    start: Start,
    spent: Callable[[], float],
    folder: pathlib.Path,
) -> Plan:
    """Measure this machine and make a plan."""
    options = request.options
    with tempfile.TemporaryDirectory(prefix="plan") as trials:
        tools = Tools(
            bfloat16_speedup=measure_bfloat16,
            machine=lambda detector, precision: measure_machine(detector, precision, data.train_set, folder),
            anchor_recall=lambda detector, precision: anchor_recall(
                data.train_set, detector, start, precision, options.seed, pathlib.Path(trials)
            ),
            spent=spent,
        )
        val_count, given = len(data.val_set.examples), frozenset(request.values)
        return make_plan(options, given, make_steps, data.train_set, val_count, start_facts(start), tools)


def write_plan(request: Request, make_steps: MakeSteps, out: str) -> None:
    """Make a plan, print it, and write it to the file `out`.  Raises InputError."""
    path = pathlib.Path(out)
    refuse_folder(path, "give the name of a file with --out")
    make_writable(path.parent, f"--out {out}", "give a file in a folder that you can write to")
    start = load_start(request.options.weights)
    data = read_data(request.options)
    begun = time.monotonic()
    with local_strategy().scope(), naming_undecodable(data.train_set):
        plan = make(
            request, make_steps, data, start, lambda: time.monotonic() - begun, pathlib.Path(request.options.run)
        )
    print("\n".join(plan_lines(plan, type(request.options))))
    write_json(path, plan_to_json(plan, request.values))


def start_facts(start: Start) -> StartFacts:
    """What the starting weights hold."""
    if start is None:
        return StartFacts(None, None)
    if isinstance(start, TrainedDetector):
        return StartFacts(start.config.head.fc_units, start.config.anchors)
    return StartFacts(int(start.layers["fc1"][0].shape[-1]) if "fc1" in start.layers else None, None)


def _stored(request: Request, path: pathlib.Path) -> Planned:
    """The plan of a run that is resumed: what it chose, and what the user gives now.

    What the user gives wins, and what was given at the start counts only if it is given again.  The run folder then
    refuses options that differ from those of the start.
    """
    restore = "restore it from a backup, or give another folder with --run"
    try:
        values, notes = read_values(read_json(path), type(request.options), str(path))
    except FileNotFoundError as error:
        problem = "is missing: this run was started without a plan, or the file was lost"
        raise InputError(path, problem, f"leave out the plan and the budget, {restore}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, f"is not JSON ({error})", restore) from error
    if notes is None:
        raise InputError(path, "has no section plan", restore)
    chosen = {key: value for key, value in values.items() if key in notes.reasons}
    options = options_from(type(request.options), chosen | request.values)
    if isinstance(options, AlternationOptions):
        options = with_table(options)
    started = "this run was started with a budget of"
    _check_budget(options, notes.forecast, started, "give the same, or another folder with --run")
    return Planned(_settled(options), None if options.budget is None else notes.forecast)


def _check_budget(options: TrainingOptions, forecast: Forecast, problem: str, fix: str) -> None:
    """Raise InputError if the options have another budget than the forecast."""
    if options.budget is not None and not math.isclose(seconds_of(options.budget, "--budget"), forecast.budget):
        raise InputError(f"--budget {options.budget}", f"{problem} {duration_text(forecast.budget)}", fix)


def _settled(options: TrainingOptions) -> TrainingOptions:
    """The options for config.json, which `--config` can give to another run: nothing is left to plan."""
    return dataclasses.replace(options, plan="paper", budget=None)


def _with_iterations(forecast: Forecast, steps: Sequence[Step], spent: float) -> Forecast:
    """The forecast of a plan file, with the iterations that its options ask for now; they can be edited."""
    known = {step.name: step for step in forecast.steps}
    missing = [step.name for step in steps if step.name not in known]
    if missing:
        fix = "give a plan that was made for this command"
        raise InputError("--config, field plan.forecast.steps", f"has no {', '.join(missing)}", fix)
    return forecast._replace(
        steps=tuple(known[step.name]._replace(iterations=step.iterations) for step in steps), start=spent
    )
