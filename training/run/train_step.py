"""One step of training, from the newest checkpoint to its weights in the run folder."""

import gc
import logging
import math
import shutil
from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.data.augmentation.presets import PRESETS
from keras_frcnn.data.stream.order import Share, training_items
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.facts.files import write_json
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
from training.run.folder import save_parts, weights_path
from training.run.options.declared import TrainingOptions
from training.run.planning.budget import TimeBudget
from training.run.start import Run, mirrors_proposals, proposal_directory
from training.run.stores.features import FeatureCache, stored_features
from training.run.stores.rows import row_paths

_log = logging.getLogger(__name__)


class Division(NamedTuple):
    """How the mini-batches of a step are divided."""

    iterations: int  # weight updates
    mini_batches: int  # of one replica, per iteration
    images: int  # of all replicas, per iteration


class Plan(NamedTuple):
    """The schedule of a step on the devices of this run."""

    iterations: int  # this and the next two: see `Division`
    mini_batches: int
    images: int
    schedule: StepDecay


class _StepSettlement:
    """The settlement of one step by the budget of the run, in iterations instead of mini-batches."""

    def __init__(self, budget: TimeBudget, step: Step, planned: Plan):
        self._budget, self._step, self._planned = budget, step, planned

    def next_settlement(self) -> int | None:
        due = self._budget.next_settlement(self._step.name)
        if due is None:
            return None
        due = math.ceil(due / self._planned.mini_batches)
        return due if due < self._planned.schedule.drop else None  # what was trained at a lower rate stays so

    def settle(self, done: int, seconds_per_iteration: float) -> int:
        mini_batches = self._planned.mini_batches
        total = self._budget.settle(self._step.name, done * mini_batches, seconds_per_iteration / mini_batches)
        iterations = math.ceil(total / mini_batches)
        self._planned.schedule.set_iterations(iterations)
        return iterations


def divide(step: Step, options: TrainingOptions, replicas: int) -> Division:
    """Divide the mini-batches of a step among the replicas and the accumulated mini-batches of an iteration."""
    mini_batches = replicas * options.accumulate
    return Division(math.ceil(step.iterations / mini_batches), mini_batches, step.images * mini_batches)


def plan(step: Step, options: TrainingOptions, replicas: int) -> Plan:
    """Divide the mini-batches of a step, and make its schedule.

    The more mini-batches an iteration has, the fewer iterations there are and the larger the learning rate (Goyal et
    al. 2017, section 2.1).
    """
    iterations, mini_batches, images = divide(step, options, replicas)
    warmup = options.warmup
    if warmup is None:
        warmup = 0 if mini_batches == 1 else min(500, iterations // 10)
    schedule = StepDecay(step.learning_rate * mini_batches, iterations, step.drop_at, warmup)
    return Plan(iterations, mini_batches, images, schedule)


def train_step(
    run: Run,
    model: FasterRCNN,
    step: Step,
    progress: RunProgress,
    cache: FeatureCache | None = None,
    budget: TimeBudget | None = None,
) -> None:
    """Train the parts of a step, and store them in `weights_path`.  The model starts with the weights of the step.

    `cache` stores features of a fixed backbone.  `budget` may change the number of iterations on the way.  Raises
    NonFiniteLoss and KeyboardInterrupt; all iterations done are in a checkpoint then.
    """
    options, replicas = run.options, tf.distribute.get_strategy().num_replicas_in_sync
    planned = plan(step, options, replicas)
    _log.info(
        f"{step.title}: {planned.iterations} iterations of {planned.images} images ({replicas} replicas x "
        f"{step.images} x {options.accumulate} accumulated), learning rate {planned.schedule.learning_rate:g}, "
        f"warmed up over {planned.schedule.warmup} iterations"
    )
    _log_missing_features(run, step, planned)
    optimisation = Optimisation(**{name: getattr(options, name) for name in Optimisation._fields})
    # The features are stored before the trainer takes up memory.
    items = training_items(run.train_set, step.seed, step.images * replicas, planned.iterations * planned.images)
    features = stored_features(cache, run.train_set, items, f"{step.title}: features, train")
    trainer = Trainer(model, losses_of(step.trains), step.trains, planned.schedule, optimisation)
    folder = run.folder / "checkpoints" / step.name
    seconds = 60.0 * options.checkpoint_minutes
    checkpoints = Checkpoints(trainer, folder, options.checkpoint_iterations, seconds, options.checkpoints)
    done = checkpoints.restore()
    if done:
        _log.info("%s: resumes from iteration %d", step.title, done)

    shown_on = None if step.measured_on is None else proposal_directory(run, step.measured_on, "val")
    trainer.feed(_batches(run, step, features, done * planned.images))
    progress.skip(done * planned.mini_batches)

    def advance(iterations: int) -> str:
        if budget is not None:
            budget.save_if_due()
        return progress.advance(iterations * planned.mini_batches)

    train(
        trainer,
        planned.iterations,
        checkpoints,
        run.folder / "logs" / step.name,
        step.title,
        advance,
        picture_writer(model, step.trains, run.val_set, shown_on),
        None if budget is None else _StepSettlement(budget, step, planned),
    )
    trainer.finish()
    planned = planned._replace(iterations=planned.schedule.iterations)
    if is_chief():
        _store(run, model, step, planned, trainer)
        shutil.rmtree(folder, ignore_errors=True)
    wait_for_all()
    del trainer, checkpoints
    gc.collect()  # the optimiser's variables are as large as the model


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


def _log_missing_features(run: Run, step: Step, planned: Plan) -> None:
    """Log what it costs that a step cannot train on stored features because of the augmentation."""
    options = run.options
    if options.augment == "none" or options.feature_cache_gib == 0 or "backbone" in step.trains:
        return
    seen = planned.iterations * planned.images
    stored = min(seen, 2 * len(run.train_set.examples))  # each picture and its mirror image
    _log.info(
        f"{step.title}: --augment {options.augment} excludes stored features, so the convolutions process {seen} "
        f"images instead of {stored}"
    )


def _store(run: Run, model: FasterRCNN, step: Step, planned: Plan, trainer: Trainer) -> None:
    """Store what the step has trained, and how long it took."""
    summary = {
        "iterations": planned.iterations,
        "images": planned.iterations * planned.images,
        "minutes": float(trainer.seconds.numpy()) / 60,
    }
    write_json(run.folder / "logs" / f"{step.name}.json", summary)
    save_parts(weights_path(run.folder, step.name), model, step.trains)  # last: a step with weights is done
