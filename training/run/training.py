"""Training from its options to the finished detector: runs a table of steps.

Work that the run folder holds already is not done again.  On several machines every process calls the same functions
in the same order; only the chief worker writes files and prints.
"""

import contextlib
import errno
import logging
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_frcnn.data.stream.pipeline import naming_undecodable
from keras_frcnn.data.tensorflow_errors import reason_of
from keras_frcnn.facts.errors import InputError
from keras_frcnn.network.model import FasterRCNN
from keras_frcnn.network.weights.warm_start import TrainedDetector, new_layers
from training.engine.distribution import connect_machines, is_chief, local_strategy
from training.engine.interruption import stop_if_asked
from training.engine.progress import RunProgress
from training.engine.trainer import NonFiniteLoss
from training.four_steps import Step
from training.reporting.summary import TrainingResult, joined
from training.run.data.check_pictures import check_pictures
from training.run.finish import finish
from training.run.folder import bind_to_start, check_sources, keep_plan, load_part, weights_path
from training.run.measure import measure_detector, measure_rpn, store_training_proposals
from training.run.options.reading import Request
from training.run.planning.budget import FEWEST_ITERATIONS, MOST_GROWTH, TimeBudget
from training.run.planning.forecast import BUDGET_FILE
from training.run.session import open_session, terminal_messages
from training.run.start import (
    Planned,
    Run,
    RunData,
    Start,
    check_feature_folder,
    checkpoint_folder,
    digest_of,
    feature_cache,
    load_start,
    new_model,
    read_data,
    with_val_images,
)
from training.run.train_step import counted_mini_batches, train_step, used_pictures
from training.run.validation.scores import validation_of

WORKER_LOST = 75  # the exit status EX_TEMPFAIL: try again

_log = logging.getLogger(__name__)

MakePlan = Callable[[Request, Callable[[Any], Sequence[Step]], RunData, Start, Callable[[], float]], Planned]


def run_training(request: Request, make_steps: Callable[[Any], Sequence[Step]], plan: MakePlan) -> int:
    """Run a table of steps, and write the finished detector and the report.

    Args:
      request: what the user asks for.
      make_steps: the table for the options of the run.
      plan: makes the plan of the run, or reads it: `training.run.planning.planned.plan_run`.

    Returns:
      The exit status: 0, 1 if a loss was not finite or the memory did not suffice, or 75 if the connection to another
      machine was lost.

    Raises:
      InputError: something that the user gave is wrong.
      OSError: a file cannot be written; what was finished before stays.
      KeyboardInterrupt: the user interrupted the run.
    """
    # Validate user input first, before touching devices or the run folder.
    start = load_start(request.options.weights)
    try:
        _train_from(request, make_steps, plan, start)
    except Exception as error:
        status = _explained(error, pathlib.Path(request.options.run))
        if status is None:
            raise
        return status
    return 0


def _train_from(request: Request, make_steps: Callable[[Any], Sequence[Step]], plan: MakePlan, start: Start) -> None:
    """`run_training` from given weights, without explanations of errors."""
    begun = time.monotonic()  # downloaded weights are no part of the budget
    machines = connect_machines()  # some data sources run TensorFlow operations, and then it would be too late
    if machines is not None and request.options.budget is not None:
        fix = "make a plan with python -m training.plan on one machine, and give its file without the budget"
        raise InputError("--budget", "does not work on several machines, whose clocks differ", fix)
    with contextlib.nullcontext() if machines is None else machines.scope():
        chief = is_chief()
    # Outside of the strategy's scope: creating variables inside waits for the other machines.
    data = read_data(request.options, chief)
    local = local_strategy()  # one for all: a second one would reuse the keys of the first one's collective operations
    with local.scope(), naming_undecodable(data.train_set), terminal_messages():
        planned = plan(request, make_steps, data, start, lambda: time.monotonic() - begun)
    options, data = planned.options, with_val_images(data, planned.options.val_images)
    steps = make_steps(options)
    check_pictures(options, steps, data, chief)
    stop_if_asked()
    with contextlib.ExitStack() as session:
        with (machines or local).scope():
            if chief and planned.file is not None:
                keep_plan(pathlib.Path(options.run), planned.file)
            run = session.enter_context(open_session(options, data))
            check_feature_folder(run)
            if chief:
                bind_to_start(run.folder, digest_of(start))
            model = _model_of(run, start)
            budget = None
            if planned.forecast is not None:
                budget = TimeBudget(planned.forecast, run.folder / BUDGET_FILE, begun)
                session.enter_context(budget.kept())
            results = run_steps(run, model, start, steps, budget)
        if chief:  # outside of the scope, as above
            finish(run, model, results)
    if chief and budget is not None:
        print(f"used {budget.spent() / 60:.1f} of {budget.total / 60:.1f} minutes")


def _model_of(run: Run, start: Start) -> FasterRCNN:
    """The model of the run, and a message about the layers that a warm start leaves new."""
    model = FasterRCNN(run.config, run.train_set.class_names, seed=run.options.seed, dtype=run.options.precision)
    if isinstance(start, TrainedDetector):
        new = [f"{name} ({reason})" for name, reason in new_layers(model, start).items()]
        _log.info("warm start from %s; new layers: %s", start.source, ", ".join(new) or "none")
    return model


def _explained(error: Exception, folder: pathlib.Path) -> int | None:
    """Print what stopped the run, if it is known; returns the exit status, or None for another error.

    Raises OSError for a full disk, and for a file of the run that cannot be read.
    """
    status = 1
    if isinstance(error, NonFiniteLoss):
        fix = "start another run with a lower --learning-rate, with --warmup or with --clip-norm"
        problem = f"{error}; the last good weights are in {folder / 'checkpoints'}"
    elif isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.DeadlineExceededError):
        fix = "start all workers again with the same command: training resumes from the newest checkpoint"
        problem = f"lost another worker ({type(error).__name__})"
        status = WORKER_LOST
    elif isinstance(error, tf.errors.ResourceExhaustedError):
        fix = "start another run with a smaller --short-side, fewer --rois or fewer images in a mini-batch"
        problem = f"out of memory ({reason_of(error)})"
        if os.strerror(errno.ENOSPC) in error.message:  # TensorFlow has one error for full disks and full memories
            raise OSError(errno.ENOSPC, reason_of(error), str(folder)) from error
    elif isinstance(error, tf.errors.OpError) and _names_file_of(folder, error.message):
        raise OSError(errno.EIO, reason_of(error), str(folder)) from error
    else:
        return None
    print(f"error: {problem}; {fix}", file=sys.stderr)
    return status


def _names_file_of(folder: pathlib.Path, message: str) -> bool:
    """Whether a message names a file in the folder."""
    return re.search(rf"(?<![\w./-]){re.escape(str(folder))}/", message) is not None


def run_steps(
    run: Run, model: FasterRCNN, start: Start, steps: Sequence[Step], budget: TimeBudget | None = None
) -> list[TrainingResult]:
    """Run the steps in order; leaves the finished detector in `model`.

    Raises InputError if a finished step started from weights that have changed since, or if a file is damaged.
    """
    check_sources(run.folder, [step.name for step in steps])
    progress = RunProgress(sum(counted_mini_batches(step, run.options) for step in steps), budget)
    results = []
    for step in steps:
        users = [other for other in steps if other.proposals_from == step.name]
        if budget is not None:
            step = step._replace(iterations=budget.begin(step.name))
        results.append(_run_step(run, model, start, step, progress, users, budget))
        if budget is not None:
            budget.end(step.name)
    check_shared_backbone(run, model, steps)
    return results


def _run_step(
    run: Run,
    model: FasterRCNN,
    start: Start,
    step: Step,
    progress: RunProgress,
    users: Sequence[Step],
    budget: TimeBudget | None,
) -> TrainingResult:
    """Bring the model to its state after `step`, and measure it.

    `users` are the steps that train on the proposals of this one.
    """
    is_done = weights_path(run.folder, step.name).is_file()
    sources = {"backbone": step.backbone_from, "rpn": step.rpn_from, "head": step.head_from}
    if is_done:
        sources |= dict.fromkeys(step.trains, step.name)
    _set_parts(model, sources, run, start)
    cache = None if "backbone" in step.trains else feature_cache(run, model)
    if is_done:
        progress.skip(counted_mini_batches(step, run.options))
    else:
        train_step(run, model, step, progress, cache, budget, validation_of(run, model, step, cache))
    if is_chief():  # also those of a process that was killed at the end of the step
        shutil.rmtree(checkpoint_folder(run, step.name), ignore_errors=True)
    if users:
        growth = 1.0 if budget is None else MOST_GROWTH
        used: dict[int, None] | None = {}  # the indices in order; None: all pictures
        for user in users:
            if budget is not None:
                user = user._replace(iterations=max(user.iterations, FEWEST_ITERATIONS))
            own = used_pictures(user, run, growth)
            used = None if used is None or own is None else used | dict.fromkeys(own)
        store_training_proposals(run, model, step, cache, used)
    if "head" not in step.trains:
        return measure_rpn(run, model, step, cache)
    recall = measure_rpn(run, model, step, cache) if "rpn" in step.trains else None
    result = measure_detector(run, model, step, cache)
    return result if recall is None else joined(recall, result)


def _set_parts(model: FasterRCNN, sources: dict[str, str | None], run: Run, start: Start) -> None:
    """Give each part of the model its starting weights.  New weights depend only on the seed of the run."""
    fresh = new_model(run, start) if {"pretrained", "new"} & set(sources.values()) else None
    for part, source in sources.items():
        if source in ("pretrained", "new"):
            getattr(model, part).set_weights(getattr(fresh, part).get_weights())
        elif source is not None:
            load_part(weights_path(run.folder, source), model, part)


def check_shared_backbone(run: Run, model: FasterRCNN, steps: Sequence[Step]) -> None:
    """Prove that RPN and head share one backbone, equal to that of the last step that trained it, bit for bit.

    Raises AssertionError.
    """
    features = model.get_layer("backbone").output
    if model.get_layer("rpn").input is not features or model.get_layer("roi_pooling").input[0] is not features:
        raise AssertionError("RPN and head do not read the features of one backbone")
    trained = next(step for step in reversed(steps) if "backbone" in step.trains)
    now = [variable.numpy() for variable in model.backbone.variables]
    load_part(weights_path(run.folder, trained.name), model, "backbone")
    after_training = [variable.numpy() for variable in model.backbone.variables]
    if not all(np.array_equal(a, b) for a, b in zip(now, after_training, strict=True)):
        raise AssertionError(f"the convolutions changed after {trained.title}")
    if is_chief():
        print(f"check: RPN and head share one backbone of {len(now)} variables, unchanged since {trained.title}")
