"""Learning-rate schedules."""

import keras
import tensorflow as tf


class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`learning_rate`, a tenth of it from the share `drop_at` of `steps` on (paper: 60k of 80k, 30k of 40k).

    Over the first `warmup` steps it rises in a line (Goyal et al. 2017, section 2.2), for large batches.
    """

    def __init__(self, learning_rate: float, steps: int, drop_at: float, warmup: int = 0):
        self.learning_rate, self.steps, self.drop_at, self.warmup = learning_rate, steps, drop_at, warmup

    def __call__(self, step):
        """The rate of step number `step`, counted from 0."""
        step = tf.cast(step, tf.float32)
        dropped = step >= round(self.steps * self.drop_at)
        rate = tf.where(dropped, 0.1 * self.learning_rate, self.learning_rate)
        return rate * tf.minimum(1.0, (step + 1.0) / max(self.warmup, 1))

    def get_config(self):
        return {name: getattr(self, name) for name in ("learning_rate", "steps", "drop_at", "warmup")}
