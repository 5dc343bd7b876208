"""One step of training, from the newest checkpoint to its weights in the run folder."""

import gc
import logging
import math
import pathlib
import shutil
from typing import Any, NamedTuple

import tensorflow as tf

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.stream.order import Share, training_items
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_known, write_json
from keras_frcnn.network.model import FasterRCNN
from training.engine.checkpoints import Checkpoints
from training.engine.distribution import is_chief, spread, wait_for_all
from training.engine.loop import train
from training.engine.objectives import losses_of
from training.engine.progress import RunProgress
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer
from training.four_steps import Step
from training.reporting.tensorboard_pictures import picture_writer
from training.run.folder import forget_results, load_part, save_parts, source_digests, weights_path
from training.run.options.declared import AlternationOptions, TrainingOptions
from training.run.planning.budget import TimeBudget
from training.run.start import Run, checkpoint_folder, mirrors_proposals, proposal_directory
from training.run.stores.features import FeatureCache, stored_features
from training.run.stores.rows import row_paths
from training.run.validation.record import Validation, to_json

BEGUN_FILE = "begun.json"  # beside the checkpoints of a step

_log = logging.getLogger(__name__)


class Division(NamedTuple):
    """How the mini-batches of a step are divided on the devices of this run."""

    iterations: int  # weight updates
    mini_batches: int  # of one replica, per iteration
    images: int  # of all replicas, per iteration


class _StepSettlement:
    """The settlement of one step by the budget of the run, in iterations instead of mini-batches."""

    def __init__(self, budget: TimeBudget, step: Step, mini_batches: int, schedule: StepDecay):
        self._budget, self._step, self._mini_batches, self._schedule = budget, step, mini_batches, schedule

    def next_settlement(self) -> int | None:
        due = self._budget.next_settlement(self._step.name)
        if due is None:
            return None
        due = math.ceil(due / self._mini_batches)
        return due if due < self._schedule.drop else None  # what was trained at a lower rate stays so

    def settle(self, done: int, seconds_per_iteration: float) -> int:
        seconds = seconds_per_iteration / self._mini_batches
        total = self._budget.settle(self._step.name, done * self._mini_batches, seconds)
        iterations = math.ceil(total / self._mini_batches)
        self._schedule.set_iterations(iterations)
        return iterations


def divide(step: Step, options: TrainingOptions, replicas: int) -> Division:
    """Divide the mini-batches of a step among the replicas and the accumulated mini-batches of an iteration."""
    mini_batches = replicas * options.accumulate
    return Division(math.ceil(step.iterations / mini_batches), mini_batches, step.images * mini_batches)


def bind_to_begin(folder: pathlib.Path, mini_batches: int, sources: dict[str, str]) -> None:
    """Note how a new step begins, or compare with the step that is resumed.

    Checkpoints count iterations, so another number of mini-batches would change which pictures the step has seen.

    Args:
      folder: of the checkpoints of the step.
      mini_batches: per iteration, of all replicas.
      sources: digests of the weights of the steps that this one starts from, by their names.

    Raises:
      InputError: the step has begun with another number or from other weights, or the file is damaged.
    """
    path, again = folder / BEGUN_FILE, f"delete {folder} to restart this step"
    if path.is_file() and any(folder.glob("ckpt-*.index")):
        before = read_known(path, lambda stored: (int(stored["mini_batches"]), dict(stored["sources"])), again)
        if before[0] != mini_batches:
            problem = (
                f"this step has begun with {before[0]} mini-batches per iteration, now there would be {mini_batches}"
            )
            raise InputError(path, problem, f"give it as many replicas (GPUs and machines) as before, or {again}")
        if before[1] != sources:
            problem = f"the weights of {' or '.join(sources)} have changed since this step has begun"
            raise InputError(path, problem, f"restore them from a backup, or {again}")
    wait_for_all()  # all processes must have read before the chief writes
    if is_chief():
        write_json(path, {"mini_batches": mini_batches, "sources": sources})


def counted_mini_batches(step: Step, options: TrainingOptions) -> int:
    """The mini-batches of a step with which its iterations are complete."""
    divided = divide(step, options, tf.distribute.get_strategy().num_replicas_in_sync)
    return divided.iterations * divided.mini_batches


def schedule_of(step: Step, options: TrainingOptions, divided: Division) -> StepDecay:
    """The learning rates of a step.

    The more mini-batches an iteration has, the fewer iterations there are and the larger the learning rate (Goyal et
    al. 2017, section 2.1).
    """
    warmup = options.warmup
    if warmup is None:
        warmup = 0 if divided.mini_batches == 1 else min(500, divided.iterations // 10)
    return StepDecay(step.learning_rate * divided.mini_batches, divided.iterations, step.drop_at, warmup)


def train_step(
    run: Run,
    model: FasterRCNN,
    step: Step,
    progress: RunProgress,
    cache: FeatureCache | None = None,
    budget: TimeBudget | None = None,
    validation: Validation | None = None,
) -> None:
    """Train the parts of a step, and store them in `weights_path`.  The model starts with the weights of the step.

    The checkpoints stay until the caller deletes them.

    `cache` stores features of a fixed backbone.  `budget` may change the number of iterations on the way, and
    `validation` may end them early.

    Raises:
      InputError: the step has begun with other replicas or from other weights, or a file of it is damaged.
      NonFiniteLoss: see `Trainer`; all iterations done before are in a checkpoint.
      KeyboardInterrupt: the user interrupted the step; all iterations done are in a checkpoint.
    """
    options, replicas = run.options, tf.distribute.get_strategy().num_replicas_in_sync
    divided, folder = divide(step, options, replicas), checkpoint_folder(run, step.name)
    bind_to_begin(folder, divided.mini_batches, source_digests(run.folder, step.sources))
    schedule = schedule_of(step, options, divided)
    _log_start(step, divided, schedule, f"{replicas} replicas x {step.images} x {options.accumulate} accumulated")
    _log_missing_features(run, step, divided.iterations * divided.images)
    optimisation = Optimisation(**{name: getattr(options, name) for name in Optimisation._fields})
    # The features are stored before the trainer takes up memory.
    items = training_items(run.train_set, step.seed, step.images * replicas, divided.iterations * divided.images)
    features = stored_features(cache, run.train_set, items, f"{step.title}: features, train")
    trainer = Trainer(model, losses_of(step.trains), step.trains, schedule, optimisation)
    each = options.checkpoint_iterations, 60.0 * options.checkpoint_minutes
    checkpoints = Checkpoints(trainer, folder, *each, options.checkpoints)
    done = checkpoints.restore()
    if done:
        _log.info("%s: resumes from iteration %d", step.title, done)
    if validation is not None:
        validation.restore(done)

    shown_on = None if step.measured_on is None else proposal_directory(run, step.measured_on, "val")
    trainer.feed(_batches(run, step, features, done * divided.images))
    progress.skip(done * divided.mini_batches)
    train(
        trainer,
        divided.iterations,
        checkpoints,
        run.folder / "logs" / step.name,
        step.title,
        lambda iterations: progress.advance(iterations * divided.mini_batches),
        picture_writer(model, step.trains, run.val_set, shown_on),
        None if budget is None else _StepSettlement(budget, step, divided.mini_batches, schedule),
        validation,
    )
    trainer.finish()
    done = int(trainer.iteration.numpy())
    progress.skip((schedule.iterations - done) * divided.mini_batches)  # those that an early end leaves out
    _finish(run, model, step, divided._replace(iterations=done), trainer.seconds.numpy(), validation)
    del trainer, checkpoints
    gc.collect()  # the optimiser's variables are as large as the model


def _finish(
    run: Run, model: FasterRCNN, step: Step, divided: Division, seconds: float, validation: Validation | None
) -> None:
    """Store the result of the step."""
    if validation is not None:
        _keep(run, model, step, validation, divided.iterations)
    if is_chief():
        _store(run, model, step, divided, seconds, validation)
    wait_for_all()


def used_pictures(step: Step, run: Run, growth: float = 1.0) -> list[int] | None:
    """The indices of the training pictures that a step uses, in order; None: all of them.

    `growth`: how many times as many iterations as planned the step may have in the end.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    divided = divide(step, run.options, replicas)
    count = math.ceil(growth * divided.iterations) * divided.images
    if count >= 2 * len(run.train_set.examples):
        return None
    items = training_items(run.train_set, step.seed, step.images * replicas, count)
    return list(dict.fromkeys(index for index, _ in items))


def _batches(
    run: Run, step: Step, features: FeatureFiles | None, position: int
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """The mini-batches of a step from a position in the endless stream of images on, for all replicas."""

    def of_pipeline(share: Share) -> tf.data.Dataset:
        proposals = None
        if step.proposals_from is not None:
            splits = ("train", "mirrored") if mirrors_proposals(run) else ("train",)
            paths = [row_paths(proposal_directory(run, step.proposals_from, split), run.train_set) for split in splits]
            proposals = paths[0] if len(paths) == 1 else (paths[0], paths[1])
        return training_batches(
            run.train_set, run.config.image, step.images, step.seed, proposals, features, position, share,
            augment=PRESETS[run.options.augment],
        )  # fmt: skip

    return spread(of_pipeline)


def _log_start(step: Step, divided: Division, schedule: StepDecay, images: str) -> None:
    """Log the schedule of a step; `images` says what its mini-batches consist of."""
    _log.info(
        f"{step.title}: {divided.iterations} iterations of {divided.images} images ({images}), "
        f"learning rate {schedule.learning_rate:g}, warmed up over {schedule.warmup} iterations"
    )


def _log_missing_features(run: Run, step: Step, seen: int) -> None:
    """Log what it costs that a step, which sees `seen` images, has no stored features because of the augmentation."""
    options = run.options
    if "backbone" in step.trains or not isinstance(options, AlternationOptions):
        return
    if options.augment == "none" or options.feature_cache_gib == 0:
        return
    stored = min(seen, 2 * len(run.train_set.examples))  # each picture and its mirror image
    _log.info(
        f"{step.title}: --augment {options.augment} excludes stored features, so the convolutions process {seen} "
        f"images instead of {stored}"
    )


def _keep(run: Run, model: FasterRCNN, step: Step, validation: Validation, done: int) -> None:
    """Give the model the best weights if the options say so, and store the others, last or best, beside the result."""
    found = validation.best_weights()
    if found is None or found[0].iteration == done:  # the last weights are the best
        return
    best, path = found
    keeps_best = run.options.keep == "best"
    if is_chief():
        if keeps_best:
            save_parts(weights_path(run.folder, f"{step.name}.last"), model, step.trains)
        else:
            shutil.copyfile(path, weights_path(run.folder, f"{step.name}.best"))
    wait_for_all()
    if keeps_best:
        for part in step.trains:
            load_part(path, model, part)
        _log.info("%s: keeps the weights after %d of %d iterations", step.title, best.iteration, done)


def _store(
    run: Run, model: FasterRCNN, step: Step, divided: Division, seconds: float, validation: Validation | None
) -> None:
    """Store what the step has trained, from what, how long it took, and how it was validated.

    Deletes what was made of the weights of an earlier training of this step.
    """
    summary: dict[str, Any] = {
        "sources": source_digests(run.folder, step.sources),
        "iterations": divided.iterations,
        "images": divided.iterations * divided.images,
        "minutes": float(seconds) / 60,
    }
    if validation is not None:
        summary["validation"] = to_json(validation.measure, validation.scores) | {"keep": run.options.keep}
    forget_results(run.folder, step.name)
    write_json(run.folder / "logs" / f"{step.name}.json", summary)
    save_parts(weights_path(run.folder, step.name), model, step.trains)  # last: a step with weights is done
