"""The trainer: turns mini-batches into gradients, and gradients into changes of the weights.

The same code runs on one device, on several (MirroredStrategy) and on several machines (MultiWorkerMirroredStrategy).
Losses are divided by counts over all replicas and gradients are summed, so the result does not depend on how a global
batch is divided.

An iteration is one change of the weights.
"""

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import orbit
import tensorflow as tf

from keras_frcnn.facts.structures import Batch, Tensor
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import fixed_features, image_features
from training.engine.interruption import stop_if_asked
from training.engine.objectives import LossFunction
from training.engine.solver import Optimisation, Solver

# Dynamic loss scaling as in keras.optimizers.LossScaleOptimizer, which decides by the first replica alone: here the
# gradients of all replicas must be finite.
FIRST_LOSS_SCALE = 2.0**15
GROWTH_INTERVAL = 2000  # finite iterations after which the scale doubles


class NonFiniteLoss(RuntimeError):
    """A loss or its gradient was not finite.  The weights are those of the last good iteration."""

    def __init__(self, iteration: int, image_ids: Sequence[str]):
        self.iteration, self.image_ids = iteration, image_ids
        super().__init__(f"the loss of iteration {iteration} or its gradient is not finite, on {', '.join(image_ids)}")


def loss_and_gradients(
    model: FasterRCNN,
    losses: LossFunction,
    batch: Batch,
    variables: Sequence[keras.Variable],
    train_backbone: bool,
    loss_scale: float | Tensor = 1.0,
) -> tuple[dict[str, Tensor], Tensor, list[Tensor], dict[str, Tensor]]:
    """Losses of a mini-batch and their gradients.

    In a replica, each value is that replica's share: the counts that divide the losses are those of all replicas, so
    the sum of the shares is the value of the global batch.

    Returns:
      Mean losses by name, () float32; their total, () float32; the gradients of `loss_scale` times the total, one for
      each of `variables`; and the counts of samples by name, () float32.
    """
    watched = [variable.value for variable in variables]
    features = None if train_backbone else fixed_features(model, batch)
    replicas = tf.distribute.get_replica_context()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(watched)
        result = losses(model, batch, image_features(model, batch) if train_backbone else features)
        counts = replicas.all_reduce(tf.distribute.ReduceOp.SUM, result.counts)
        # The loss of a batch that samples nothing is 0, not 0 / 0.
        means = {name: value / tf.maximum(counts[name], 1.0) for name, value in result.sums.items()}
        total = tf.add_n(list(means.values()))
        scaled = total * loss_scale
    return means, total, tape.gradient(scaled, watched), result.samples


class Trainer(orbit.AbstractTrainer):
    """Trains some parts of a model.  The weights change only where the loss is finite.

    Create it in the scope of the strategy that runs it.  `checkpoint` holds its whole state: a restored trainer that
    is fed the same data from mini-batch `iteration * accumulate` on gives the same result as one that never stopped.

    A mini-batch is one call of a graph, which the host does not wait for: the graph itself decides whether the weights
    change.  The host reads the numbers of all mini-batches at once, at the end of `train`.  After a `NonFiniteLoss`, no
    call of `train` changes the weights.
    """

    def __init__(
        self,
        model: FasterRCNN,
        losses: LossFunction,
        parts: Sequence[str],
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        optimisation: Optimisation,
    ):
        self._strategy = tf.distribute.get_strategy()
        self._model, self._losses, self._train_backbone = model, losses, "backbone" in parts
        self._variables = [variable for part in parts for variable in getattr(model, part).trainable_variables]
        self.optimisation, self.schedule = optimisation, schedule
        self._solver = Solver(self._variables, optimisation)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)  # iterations done
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)  # spent in iterations
        self.scales_loss = model.precision == "mixed_float16"
        self.loss_scale = tf.Variable(FIRST_LOSS_SCALE if self.scales_loss else 1.0, trainable=False)
        self.finite_iterations = tf.Variable(0, dtype=tf.int64, trainable=False)  # since the loss scale changed
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)  # iterations lost to too large a loss scale
        self._failed = tf.Variable(False, trainable=False)  # whether a loss was not finite
        # What the mini-batches of an iteration add up before its last one: the gradients, and the loss.
        shapes = [*(variable.shape for variable in self._variables), ()] if optimisation.accumulate > 1 else []
        self._added = [
            tf.Variable(tf.zeros(shape), trainable=False, synchronization=tf.VariableSynchronization.ON_READ)
            for shape in shapes
        ]
        self.checkpoint = tf.train.Checkpoint(
            iteration=self.iteration,
            seconds=self.seconds,
            loss_scale=self.loss_scale,
            finite_iterations=self.finite_iterations,
            skipped=self.skipped,
            weights=[variable.value for variable in self._variables],
            solver=self._solver.state,
        )

    def feed(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> None:
        """Take mini-batches from `batches`, which must be distributed if the strategy has several replicas."""
        self._batches = iter(batches)

        # Each of the two graphs changes all of its variables in one call, which no signal can interrupt.
        @tf.function(input_signature=[batches.element_spec])
        def add(batch: Batch) -> dict[str, Tensor]:
            return self._of_first(self._strategy.run(self._add_in_replica, args=(batch,)))

        @tf.function(input_signature=[batches.element_spec])
        def iterate(batch: Batch) -> dict[str, Tensor]:
            record = self._of_first(self._strategy.run(self._iterate_in_replica, args=(batch,)))
            return record | self._count(record["finite"], record["failed"])

        self._add, self._iterate = add, iterate

    def train(self, num_steps: Tensor) -> dict[str, float]:
        """Run that many iterations; returns the means that TensorBoard shows.  Raises NonFiniteLoss."""
        each, start, waited, images = self.optimisation.accumulate, time.perf_counter(), 0.0, 0
        records, image_ids = [], []
        try:
            for number in range(1, int(num_steps) * each + 1):
                stop_if_asked()
                asked = time.perf_counter()
                batch = next(self._batches)
                waited += time.perf_counter() - asked
                records.append(self._iterate(batch) if number % each == 0 else self._add(batch))
                image_ids.append(batch.image_ids)
                local = self._strategy.experimental_local_results(batch.image_sizes)
                images += sum(map(len, local)) * self._strategy.num_replicas_in_sync // len(local)
            records = _read(records)
        finally:  # also if the user interrupts it: the iterations done count
            seconds = time.perf_counter() - start
            self.seconds.assign_add(seconds)
        self._raise_if_failed(records, image_ids)
        *_, last = records
        output = {name: _sum(records, name) / len(records) for name in last if name.startswith("losses/")}
        output |= {f"{name}_per_image": _sum(records, name) / images for name in last if name.startswith("samples/")}
        output |= {"images_per_second": images / seconds, "data_wait_share": waited / seconds}
        shown = ["learning_rate"]
        shown += ["gradient_norm"] if last["finite"] else []
        shown += ["loss_scale", "skipped_iterations"] if self.scales_loss else []
        return output | {name: last[name] for name in shown}

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Give the model the moving average of its weights, if there is one, while the block runs."""
        return self._solver.averaged()

    def finish(self) -> None:
        """Give the model the moving average of its weights, if there is one.  Call it after the last iteration."""
        self._solver.finish()

    def _raise_if_failed(self, records: Sequence[dict[str, float]], image_ids: Sequence[Any]) -> None:
        """Raise NonFiniteLoss, which names the pictures of the mini-batch that failed."""
        failed = next((number for number, record in enumerate(records) if record.get("failed")), None)
        if failed is None:
            return
        of_iteration = range(failed - self.optimisation.accumulate + 1, failed + 1)
        guilty = [number for number in of_iteration if not math.isfinite(records[number]["losses/loss"])]
        ids = [
            image_id.decode()
            for number in guilty or of_iteration  # if only the sum of the gradients shows it, any of them
            for local in self._strategy.experimental_local_results(image_ids[number])
            for image_id in local.numpy()
        ]
        raise NonFiniteLoss(int(self.iteration.numpy()) + 1, ids)

    def _compute_in_replica(self, batch: Batch) -> tuple[list[Tensor], dict[str, Tensor]]:
        """This replica's gradients and loss, and what the losses and samples of all replicas add up to."""
        means, total, gradients, samples = loss_and_gradients(
            self._model, self._losses, batch, self._variables, self._train_backbone, self.loss_scale
        )
        record = {f"losses/{name}": value for name, value in (means | {"loss": total}).items()}
        record |= {f"samples/{name}": value for name, value in samples.items()}
        return [*gradients, total], _sum_over_replicas(record)

    def _add_in_replica(self, batch: Batch) -> dict[str, Tensor]:
        """Keep the gradients of a mini-batch that is not the last of its iteration."""
        values, record = self._compute_in_replica(batch)
        for added, value in zip(self._added, values, strict=True):
            added.assign_add(value)
        return record

    def _iterate_in_replica(self, batch: Batch) -> dict[str, Tensor]:
        """Change the weights by the gradients of an iteration, unless they are not finite."""
        values, record = self._compute_in_replica(batch)
        if self._added:
            values = [value + added for value, added in zip(values, self._added, strict=True)]
            for added in self._added:
                added.assign(tf.zeros_like(added))
        *gradients, loss = _sum_over_replicas(values)
        # The update is linear in the gradients of all iterations, so a larger gradient is the same as a larger rate.
        factor = 1.0 / (self.loss_scale * self.optimisation.accumulate)
        norm = factor * tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)  # it is if and only if all gradients are, below 1e19
        failed = self._failed | ~tf.math.is_finite(loss) | (~finite & (self.loss_scale <= 1.0))
        clip, rate = self.optimisation.clip_norm, self.schedule(self.iteration)
        if clip is not None:
            factor *= clip / tf.maximum(norm, clip)
        tf.cond(finite & ~failed, lambda: self._solver.update(gradients, factor, rate), lambda: None)
        return record | {
            "learning_rate": rate,
            "gradient_norm": norm,
            "finite": finite,
            "failed": failed,
        }

    def _count(self, finite: Tensor, failed: Tensor) -> dict[str, Tensor]:
        """Count an iteration and adapt the loss scale, in all replicas."""
        self._failed.assign(failed)
        self.iteration.assign_add(tf.cast(~failed, tf.int64))
        record = {"finite": tf.cast(finite, tf.float32), "failed": tf.cast(failed, tf.float32)}
        if not self.scales_loss:
            return record
        self.skipped.assign_add(tf.cast(~finite & ~failed, tf.int64))
        good = tf.where(finite, self.finite_iterations + 1, 0)
        grows = good == GROWTH_INTERVAL
        change = tf.where(failed, 1.0, tf.where(grows, 2.0, tf.where(finite, 1.0, 0.5)))
        self.loss_scale.assign(self.loss_scale * change)
        self.finite_iterations.assign(tf.where(grows, tf.constant(0, tf.int64), good))
        return record | {"loss_scale": self.loss_scale + 0.0, "skipped_iterations": tf.cast(self.skipped, tf.float32)}

    def _of_first(self, values: Any) -> Any:
        """The values of one replica, for values that are equal in all replicas."""
        return tf.nest.map_structure(lambda value: self._strategy.experimental_local_results(value)[0], values)


def _read(records: Sequence[dict[str, Tensor]]) -> list[dict[str, float]]:
    """The numbers of all records, read from the device at once."""
    numbers = tf.stack(tf.nest.flatten(records)).numpy().tolist()
    return tf.nest.pack_sequence_as(records, numbers)


def _sum(records: Sequence[dict[str, float]], name: str) -> float:
    return sum(record[name] for record in records)


def _sum_over_replicas(values: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
