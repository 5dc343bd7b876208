"""Whether XLA pays: the backbone and its gradient, nine tenths of a step of training, with and without it.

    python tests/benchmarks/xla.py

prints for each precision the ratio of the time without XLA to that with it (over 1: XLA pays) on the device at hand,
the median of rounds that take turns.  RoI pooling and NMS, the rest of a step, do not compile under XLA on the CPU.
"""

import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from rounds import seconds_by_turns

from keras_frcnn.network.backbone import Backbone

SIZE, ROUNDS = (1, 384, 512, 3), 5


def step_function(backbone, compiled: bool):
    """The gradient of the features' sum for all weights, of one picture."""

    @tf.function(jit_compile=compiled)
    def step(images):
        watched = [variable.value for variable in backbone.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            total = tf.reduce_sum(tf.cast(backbone(images), tf.float32))
        return tape.gradient(total, watched)

    return step


def main():
    images = tf.random.stateless_normal(SIZE, (0, 0)) * 60.0
    device = (tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU"))[0].device_type
    for precision in ("float32", "mixed_bfloat16"):
        backbone = Backbone(dtype=keras.DTypePolicy(precision))
        backbone.build(SIZE)
        steps = [step_function(backbone, compiled) for compiled in (False, True)]
        times = seconds_by_turns([lambda step=step: step(images)[0].numpy() for step in steps], ROUNDS)
        plain, compiled = map(statistics.median, times)
        print(f"{device} {precision}: {plain:.3f} s, {compiled:.3f} s with XLA: {plain / compiled:.2f} times")


if __name__ == "__main__":
    main()
