"""The only training loop, on orbit's Controller and tf.distribute.

The same code runs on one device, on several (MirroredStrategy) and on several machines (MultiWorkerMirroredStrategy):
losses are divided by counts over all replicas and gradients are summed, so that how a global batch is divided changes
nothing.
"""

import collections
import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import orbit
import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.network.model import FasterRCNN
from training.engine.checkpoints import Checkpoints
from training.engine.distribution import is_chief, progress_bar
from training.engine.interruption import stop_if_asked
from training.engine.objectives import loss_and_gradients

LOOKS = 5  # at pictures, during one training
SUMMARY_INTERVAL = 10  # steps between two records in TensorBoard and on the progress bar
# Dynamic loss scaling as in keras.optimizers.LossScaleOptimizer, but over all replicas: that one asks the first alone.
FIRST_LOSS_SCALE = 2.0**15
GROWTH_INTERVAL = 2000  # finite steps after which the scale doubles


class Optimisation(NamedTuple):
    """How gradients become steps: SGD with momentum, as in the paper's solver."""

    momentum: float = 0.9
    weight_decay: float = 0.0005  # L2 regularisation of kernels, through the momentum; biases are not decayed
    clip_norm: float | None = None  # the most that the global norm of a gradient may be
    accumulate: int = 1  # mini-batches whose gradients are averaged before the weights change


class NonFiniteLoss(RuntimeError):
    """A loss was no finite number; the weights are the last good ones."""

    def __init__(self, step: int, image_ids):
        self.step, self.image_ids = step, image_ids
        super().__init__(
            f"the loss of mini-batch {step} or its gradient is not a finite number, on {', '.join(image_ids)}"
        )


class Trainer(orbit.AbstractTrainer):
    """Runs training steps of one of the four steps; weights change only where the loss is finite.

    To be made under the strategy that is to run it.  Its whole state is that of `checkpoint`: with the same data from
    position `global_step * accumulate` mini-batches on, a restored trainer goes on as if nothing had happened.
    """

    def __init__(self, model: FasterRCNN, losses, parts, schedule, optimisation: Optimisation):
        self._strategy = tf.distribute.get_strategy()
        self._model, self._losses, self._train_backbone = model, losses, "backbone" in parts
        self._variables = [variable for part in parts for variable in getattr(model, part).trainable_variables]
        self.optimisation, self.schedule = optimisation, schedule
        self._optimizer = keras.optimizers.SGD(learning_rate=schedule, momentum=optimisation.momentum)
        self._optimizer.build(self._variables)
        self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)  # spent in training steps
        self.scales_loss = model.precision == "mixed_float16"
        self._rescales = self.scales_loss or optimisation.accumulate > 1 or optimisation.clip_norm is not None
        self.loss_scale = tf.Variable(FIRST_LOSS_SCALE if self.scales_loss else 1.0, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)  # since the scale changed
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)  # steps lost to a scale that was too large
        self.checkpoint = tf.train.Checkpoint(
            global_step=self.global_step,
            seconds=self.seconds,
            loss_scale=self.loss_scale,
            good_steps=self.good_steps,
            skipped=self.skipped,
            weights=[variable.value for variable in self._variables],
            optimizer=[variable.value for variable in self._optimizer.variables],
        )

    def feed(self, batches):
        """Take mini-batches from `batches`, a data set, distributed where the strategy has several replicas."""
        self._batches = iter(batches)
        strategy, variables, optimizer = self._strategy, self._variables, self._optimizer
        weight_decay = self.optimisation.weight_decay / strategy.num_replicas_in_sync  # each replica adds its share

        def compute_one(batch):
            means, total, gradients, samples = loss_and_gradients(
                self._model, self._losses, batch, variables, self._train_backbone, self.loss_scale
            )
            infinite = [tf.reduce_any(~tf.math.is_finite(value)) for value in (total, *gradients)]
            counts = {"losses": infinite[0], "gradients": tf.reduce_any(infinite[1:])}
            counts = {name: tf.cast(value, tf.float32) for name, value in counts.items()}  # integers take another way
            losses, samples, counts = _sum_over_replicas(({**means, "loss": total}, samples, counts))
            return losses, samples, counts["losses"] > 0.0, counts["gradients"] > 0.0, gradients

        def norm_one(gradients):
            return tf.linalg.global_norm(_sum_over_replicas([*map(tf.identity, gradients)]))

        def update_one(gradients, factor):
            # The sums over replicas go to where their terms are: what a graph is given is nowhere yet.
            gradients = [gradient * factor if self._rescales else tf.identity(gradient) for gradient in gradients]
            decayed = [
                gradient + weight_decay * variable if variable.name == "kernel" else gradient
                for gradient, variable in zip(gradients, variables, strict=True)
            ]
            optimizer.apply(decayed, variables)  # sums over replicas

        @tf.function(input_signature=[batches.element_spec])
        def compute(batch):
            return strategy.run(compute_one, args=(batch,))

        @tf.function
        def add(gradients, more):
            return strategy.run(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], args=(gradients, more))

        @tf.function
        def norm(gradients):
            return strategy.run(norm_one, args=(gradients,))

        # A graph of its own, as Keras' optimisers cannot stand inside tf.cond; one, so that no signal interrupts it.
        @tf.function
        def update(gradients, factor):
            strategy.run(update_one, args=(gradients, factor))
            self.global_step.assign_add(1)

        # Its learning rate goes on where the weights cannot.
        @tf.function
        def skip():
            optimizer.iterations.assign_add(1)
            self.global_step.assign_add(1)
            self.skipped.assign_add(1)

        self._compute, self._add, self._norm, self._update, self._skip = compute, add, norm, update, skip

    def train(self, num_steps):
        record, start = _Record(), time.perf_counter()
        for number in range(int(num_steps)):
            self._train_step(record, is_last=number == int(num_steps) - 1)
        seconds = time.perf_counter() - start
        self.seconds.assign_add(seconds)
        output = {f"losses/{name}": value / record.batches for name, value in record.losses.items()}
        output |= {f"samples/{name}_per_image": value / record.images for name, value in record.samples.items()}
        output["learning_rate"] = float(self.schedule(self.global_step - 1))
        output["images_per_second"] = record.images / seconds
        output["data_wait_share"] = record.waited / seconds
        if record.gradient_norm is not None:
            output["gradient_norm"] = record.gradient_norm
        if self.scales_loss:
            output |= {"loss_scale": float(self.loss_scale.numpy()), "skipped_steps": float(self.skipped.numpy())}
        return output

    def _train_step(self, record, is_last: bool):
        """One change of the weights, from `accumulate` mini-batches."""
        gradients, finite = self._mini_batch(record)
        for _ in range(self.optimisation.accumulate - 1):
            more, more_finite = self._mini_batch(record)
            gradients, finite = self._add(gradients, more), finite and more_finite
        if finite:
            factor, clip = 1.0 / (float(self.loss_scale.numpy()) * self.optimisation.accumulate), None
            if is_last or self.optimisation.clip_norm is not None:
                record.gradient_norm = factor * float(self._first(self._norm(gradients)))
                clip = self.optimisation.clip_norm
            if clip is not None and record.gradient_norm > clip:
                factor *= clip / record.gradient_norm
            self._update(gradients, tf.constant(factor, tf.float32))
        else:
            self._skip()
        if self.scales_loss:
            self._adapt_loss_scale(finite)

    def _mini_batch(self, record):
        """The gradients of the next mini-batch, and whether they are finite: else the loss scale alone is at fault."""
        stop_if_asked()
        asked = time.perf_counter()
        batch = next(self._batches)
        record.waited += time.perf_counter() - asked
        losses, samples, infinite_loss, infinite_gradients, gradients = self._compute(batch)
        finite = not self._first(infinite_gradients)
        if self._first(infinite_loss) or (not finite and self.loss_scale <= 1.0):
            local = self._strategy.experimental_local_results(batch.image_ids)
            ids = [image_id.decode() for image_ids in local for image_id in image_ids.numpy()]
            raise NonFiniteLoss(int(self.global_step.numpy()) + 1, ids)
        record.losses.update({name: float(self._first(value)) for name, value in losses.items()})
        record.samples.update({name: float(self._first(value)) for name, value in samples.items()})
        local = self._strategy.experimental_local_results(batch.image_sizes)
        record.images += sum(map(len, local)) * self._strategy.num_replicas_in_sync // len(local)
        record.batches += 1
        return gradients, finite

    def _adapt_loss_scale(self, finite: bool):
        self.good_steps.assign(self.good_steps + 1 if finite else 0)
        if not finite:
            self.loss_scale.assign(self.loss_scale / 2.0)
        elif self.good_steps == GROWTH_INTERVAL:
            self.loss_scale.assign(self.loss_scale * 2.0)
            self.good_steps.assign(0)

    def _first(self, value):
        """One replica's value of what is the same on all."""
        return self._strategy.experimental_local_results(value)[0].numpy()


class _Record:
    """What happened in a loop of steps."""

    def __init__(self):
        self.losses, self.samples = collections.Counter(), collections.Counter()
        self.batches, self.images, self.waited, self.gradient_norm = 0, 0, 0.0, None


def _sum_over_replicas(values):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


class Overall:
    """How far all trainings of a run are, and how long the rest takes at the pace so far."""

    def __init__(self, total: int):
        self._total, self._done, self._mine, self._started = total, 0, 0, time.monotonic()

    def skip(self, batches: int):
        """Take note of mini-batches that were done before this process."""
        self._done += batches

    def advance(self, batches: int) -> str:
        """Take note of mini-batches done, and say how far that is."""
        self._done, self._mine = self._done + batches, self._mine + batches
        left = (self._total - self._done) * (time.monotonic() - self._started) / max(self._mine, 1)
        return f"{self._done / self._total:.0%}, {tqdm.format_interval(left)} left"


def train(
    trainer: Trainer,
    steps: int,
    checkpoints: Checkpoints,
    summary_dir,
    log_file,
    title: str,
    overall: Callable[[int], str],
    look: Callable[[int], None],
):
    """Run `trainer` until step `steps`, with a progress bar, TensorBoard scalars in `summary_dir` and a log.

    `overall(steps)` is told of steps done and says how far the whole run is; `look(step)` is called LOOKS times in all,
    to write summaries.  Raises NonFiniteLoss, and lets KeyboardInterrupt through: what was done is in a checkpoint.
    """
    reached = int(trainer.global_step.numpy())
    chief = is_chief()
    with progress_bar(total=steps, initial=reached, desc=title, unit="step") as bar:

        def show(output):
            nonlocal reached
            before, reached = reached, int(trainer.global_step.numpy())
            shown = {name[7:]: f"{value:.3f}" for name, value in output.items() if name.startswith("losses/")}
            shown |= {"lr": f"{output['learning_rate']:.2g}", "img/s": f"{output['images_per_second']:.2f}"}
            shown["all"] = overall(reached - before)
            bar.set_postfix(shown, refresh=False)
            bar.update(reached - before)
            if chief and reached * LOOKS // steps > before * LOOKS // steps:
                with controller.summary_manager.summary_writer().as_default():
                    look(reached)
            checkpoints.save_if_due()

        controller = orbit.Controller(
            global_step=trainer.global_step,
            trainer=trainer,
            train_actions=[show],
            steps_per_loop=min(SUMMARY_INTERVAL, checkpoints.iterations, steps),
            summary_dir=str(summary_dir) if chief else None,
        )
        with contextlib.redirect_stdout(log_file):  # orbit prints a block for every loop
            try:
                controller.train(steps, checkpoint_at_completion=False)
            finally:
                checkpoints.save()
