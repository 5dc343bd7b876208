"""The trainer: turns mini-batches into gradients, and gradients into changes of the weights.

The same code runs on one device, on several (MirroredStrategy) and on several machines (MultiWorkerMirroredStrategy).
Losses are divided by counts over all replicas and gradients are summed, so the result does not depend on how a global
batch is divided.

An iteration is one change of the weights.
"""

import collections
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import orbit
import tensorflow as tf

from keras_frcnn.facts.structures import Batch, Tensor
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import fixed_features, image_features
from training.engine.interruption import stop_if_asked
from training.engine.objectives import LossFunction

# Dynamic loss scaling as in keras.optimizers.LossScaleOptimizer, which decides by the first replica alone: here the
# gradients of all replicas must be finite.
FIRST_LOSS_SCALE = 2.0**15
GROWTH_INTERVAL = 2000  # finite iterations after which the scale doubles


class Optimisation(NamedTuple):
    """Stochastic gradient descent with momentum (section 3.1.3)."""

    momentum: float = 0.9
    weight_decay: float = 0.0005  # L2 regularisation of kernels, applied before the momentum; biases are not decayed
    bias_rate: float = 1.0  # learning rate of the biases, relative to that of the kernels
    average_weights: float | None = None  # decay of a moving average of the weights; None keeps none
    clip_norm: float | None = None  # largest global norm of a gradient
    accumulate: int = 1  # mini-batches per iteration, whose gradients are averaged


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
        average = optimisation.average_weights
        self._optimizer = keras.optimizers.SGD(
            learning_rate=schedule,
            momentum=optimisation.momentum,
            use_ema=average is not None,
            ema_momentum=average or 0.0,
        )
        self._optimizer.build(self._variables)
        # Keras would start the averages at the first iteration, but that one may be skipped.
        averages = [variable for variable in self._optimizer.variables if variable.name.endswith("_average")]
        for average, variable in zip(averages, self._variables, strict=False):  # without averaging, there are none
            average.assign(variable)
        self.iteration = tf.Variable(0, dtype=tf.int64, trainable=False)  # iterations done
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)  # spent in iterations
        self.scales_loss = model.precision == "mixed_float16"
        self._rescales = self.scales_loss or optimisation.accumulate > 1 or optimisation.clip_norm is not None
        self.loss_scale = tf.Variable(FIRST_LOSS_SCALE if self.scales_loss else 1.0, trainable=False)
        self.finite_iterations = tf.Variable(0, dtype=tf.int64, trainable=False)  # since the loss scale changed
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)  # iterations lost to too large a loss scale
        self.checkpoint = tf.train.Checkpoint(
            iteration=self.iteration,
            seconds=self.seconds,
            loss_scale=self.loss_scale,
            finite_iterations=self.finite_iterations,
            skipped=self.skipped,
            weights=[variable.value for variable in self._variables],
            optimizer=[variable.value for variable in self._optimizer.variables],
        )
        self._build_graphs()

    def _build_graphs(self) -> None:
        """Compile what does not depend on the form of the batches."""
        strategy = self._strategy

        @tf.function
        def add(gradients: list, more: list) -> list:
            return strategy.run(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], args=(gradients, more))

        @tf.function
        def norm(gradients: list) -> Tensor:
            return strategy.run(self._norm_in_replica, args=(gradients,))

        # Keras optimisers cannot be called inside tf.cond, so updating and skipping are two graphs.  Each changes all
        # of its variables in one call, which no signal can interrupt.
        @tf.function
        def update(gradients: list, factor: Tensor) -> None:
            strategy.run(self._update_in_replica, args=(gradients, factor))
            self.iteration.assign_add(1)

        @tf.function
        def skip() -> None:
            self._optimizer.iterations.assign_add(1)  # the learning rate follows its schedule all the same
            self.iteration.assign_add(1)
            self.skipped.assign_add(1)

        self._add, self._norm, self._update, self._skip = add, norm, update, skip

    def feed(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> None:
        """Take mini-batches from `batches`, which must be distributed if the strategy has several replicas."""
        self._batches = iter(batches)

        @tf.function(input_signature=[batches.element_spec])
        def compute(batch: Batch) -> tuple:
            return self._strategy.run(self._compute_in_replica, args=(batch,))

        self._compute = compute

    def train(self, num_steps: Tensor) -> dict[str, float]:
        """Run that many iterations; returns the means that TensorBoard shows.  Raises NonFiniteLoss."""
        iterations = int(num_steps)
        record, start = _Record(), time.perf_counter()
        for number in range(iterations):
            self._iterate(record, is_last=number == iterations - 1)
        seconds = time.perf_counter() - start
        self.seconds.assign_add(seconds)
        output = {f"losses/{name}": value / record.batches for name, value in record.losses.items()}
        output |= {f"samples/{name}_per_image": value / record.images for name, value in record.samples.items()}
        output["learning_rate"] = float(self.schedule(self.iteration - 1))
        output["images_per_second"] = record.images / seconds
        output["data_wait_share"] = record.waited / seconds
        if record.gradient_norm is not None:
            output["gradient_norm"] = record.gradient_norm
        if self.scales_loss:
            output |= {"loss_scale": float(self.loss_scale.numpy()), "skipped_iterations": float(self.skipped.numpy())}
        return output

    def finish(self) -> None:
        """Give the model the moving average of its weights, if there is one.  Call it after the last iteration."""
        if self.optimisation.average_weights is not None:
            self._optimizer.finalize_variable_values(self._variables)

    def _iterate(self, record: "_Record", is_last: bool) -> None:
        """Change the weights once, from `accumulate` mini-batches."""
        gradients, finite = self._mini_batch(record)
        for _ in range(self.optimisation.accumulate - 1):
            more, more_finite = self._mini_batch(record)
            gradients, finite = self._add(gradients, more), finite and more_finite
        if finite:
            clip = self.optimisation.clip_norm
            factor = 1.0 / (float(self.loss_scale.numpy()) * self.optimisation.accumulate)
            if is_last or clip is not None:
                norm = factor * float(self._first(self._norm(gradients)))
                record.gradient_norm = norm
                if clip is not None and norm > clip:
                    factor *= clip / norm
            self._update(gradients, tf.constant(factor, tf.float32))
        else:
            self._skip()
        if self.scales_loss:
            self._adapt_loss_scale(finite)

    def _mini_batch(self, record: "_Record") -> tuple[list, bool]:
        """The gradients of the next mini-batch, and whether all of them are finite.

        Raises NonFiniteLoss, unless a smaller loss scale may make the gradients finite.
        """
        stop_if_asked()
        asked = time.perf_counter()
        batch = next(self._batches)
        record.waited += time.perf_counter() - asked
        losses, samples, infinite_loss, infinite_gradients, gradients = self._compute(batch)
        finite = not self._first(infinite_gradients)
        if self._first(infinite_loss) or (not finite and self.loss_scale <= 1.0):
            local = self._strategy.experimental_local_results(batch.image_ids)
            ids = [image_id.decode() for image_ids in local for image_id in image_ids.numpy()]
            raise NonFiniteLoss(int(self.iteration.numpy()) + 1, ids)
        record.losses.update({name: float(self._first(value)) for name, value in losses.items()})
        record.samples.update({name: float(self._first(value)) for name, value in samples.items()})
        local = self._strategy.experimental_local_results(batch.image_sizes)
        record.images += sum(map(len, local)) * self._strategy.num_replicas_in_sync // len(local)
        record.batches += 1
        return gradients, finite

    def _compute_in_replica(self, batch: Batch) -> tuple:
        """Losses and samples summed over the replicas, whether either is infinite, and this replica's gradients."""
        means, total, gradients, samples = loss_and_gradients(
            self._model, self._losses, batch, self._variables, self._train_backbone, self.loss_scale
        )
        infinite = [tf.reduce_any(~tf.math.is_finite(value)) for value in (total, *gradients)]
        counts = {"losses": infinite[0], "gradients": tf.reduce_any(infinite[1:])}
        # As float32, like the losses, so that one collective operation sums all of them.
        counts = {name: tf.cast(value, tf.float32) for name, value in counts.items()}
        losses, samples, counts = _sum_over_replicas(({**means, "loss": total}, samples, counts))
        return losses, samples, counts["losses"] > 0.0, counts["gradients"] > 0.0, gradients

    # An argument of a graph has no device, and a sum over replicas is placed on the device of its terms.  So the two
    # functions below copy the gradients inside the replica first.

    def _norm_in_replica(self, gradients: list) -> Tensor:
        """The global norm of the gradients summed over the replicas."""
        return tf.linalg.global_norm(_sum_over_replicas([*map(tf.identity, gradients)]))

    def _update_in_replica(self, gradients: list, factor: Tensor) -> None:
        """Change the weights by `factor` times the gradients, which the optimiser sums over the replicas."""
        weight_decay = self.optimisation.weight_decay / self._strategy.num_replicas_in_sync  # each adds its share
        gradients = [gradient * factor if self._rescales else tf.identity(gradient) for gradient in gradients]
        # The update is linear in the gradients of all iterations, so a larger gradient is the same as a larger rate.
        applied = [
            gradient + weight_decay * variable if variable.name == "kernel" else self.optimisation.bias_rate * gradient
            for gradient, variable in zip(gradients, self._variables, strict=True)
        ]
        self._optimizer.apply(applied, self._variables)

    def _adapt_loss_scale(self, finite: bool) -> None:
        self.finite_iterations.assign(self.finite_iterations + 1 if finite else 0)
        if not finite:
            self.loss_scale.assign(self.loss_scale / 2.0)
        elif self.finite_iterations == GROWTH_INTERVAL:
            self.loss_scale.assign(self.loss_scale * 2.0)
            self.finite_iterations.assign(0)

    def _first(self, value: Any) -> Any:
        """The value of one replica, for values that are equal in all replicas."""
        return self._strategy.experimental_local_results(value)[0].numpy()


class _Record:
    """What some iterations add up."""

    def __init__(self) -> None:
        self.losses: collections.Counter[str] = collections.Counter()  # sums of the mini-batches' losses, by name
        self.samples: collections.Counter[str] = collections.Counter()
        self.batches, self.images = 0, 0  # mini-batches, and images of all replicas
        self.waited = 0.0  # seconds, for data
        self.gradient_norm: float | None = None  # of the last iteration


def _sum_over_replicas(values: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
