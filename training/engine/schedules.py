"""Learning-rate schedules."""

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import Tensor


class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that falls to a tenth once (section 3.1.3: after 60k of 80k iterations).

    Args:
      learning_rate: the rate at first.
      iterations: iterations in all.
      drop_at: the share of the iterations after which the rate is a tenth.
      warmup: iterations over which the rate rises linearly (Goyal et al. 2017, section 2.2), for large batches.
    """

    def __init__(self, learning_rate: float, iterations: int, drop_at: float, warmup: int = 0):
        self.learning_rate, self.iterations, self.drop_at, self.warmup = learning_rate, iterations, drop_at, warmup
        # A variable: graphs that were traced before `set_iterations` must see the new value.
        self._drop = tf.Variable(self.drop, dtype=tf.int64, trainable=False)

    @property
    def drop(self) -> int:
        """The first iteration with a tenth of the rate, counted from 0."""
        return round(self.iterations * self.drop_at)

    def set_iterations(self, iterations: int) -> None:
        """Change the number of iterations in all, which moves the drop."""
        self.iterations = iterations
        self._drop.assign(self.drop)

    def __call__(self, step: Tensor) -> Tensor:
        """The rate () float32 of an iteration, counted from 0."""
        iteration = tf.cast(step, tf.float32)
        dropped = iteration >= tf.cast(self._drop, tf.float32)
        rate = tf.where(dropped, 0.1 * self.learning_rate, self.learning_rate)
        return rate * tf.minimum(1.0, (iteration + 1.0) / max(self.warmup, 1))
