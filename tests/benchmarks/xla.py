"""Measure whether XLA makes the backbone and its gradient faster.

    python tests/benchmarks/xla.py

prints, for each precision, the time with XLA as a ratio to the time without it.  XLA is faster if the ratio is below 1.
The backbone and its gradient take about nine tenths of a training iteration.  The rest, RoI pooling and NMS, does not
compile with XLA on the CPU.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import keras
import tensorflow as tf
from rounds import interleaved_seconds

from keras_frcnn.network.backbone import Backbone

SIZE, ROUNDS = (1, 384, 512, 3), 5


def gradient_function(backbone: Backbone, compiled: bool) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return a function: images (1, H, W, 3) -> the gradient of the sum of the features for each trainable weight."""

    @tf.function(jit_compile=compiled)
    def gradients(images: tf.Tensor) -> list[tf.Tensor]:
        watched = [variable.value for variable in backbone.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            total = tf.reduce_sum(tf.cast(backbone(images), tf.float32))
        return tape.gradient(total, watched)

    return gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures.add_out(parser)
    options = parser.parse_args()

    images = tf.random.stateless_normal(SIZE, (0, 0)) * 60.0
    device = (tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU"))[0].device_type
    found = []
    for precision in ("float32", "mixed_bfloat16"):
        backbone = Backbone(dtype=keras.DTypePolicy(precision))
        backbone.build(SIZE)
        functions = [gradient_function(backbone, compiled) for compiled in (False, True)]
        plain, compiled = interleaved_seconds([lambda run=run: run(images)[0].numpy() for run in functions], ROUNDS)
        found.append(figures.ratio(f"{device} {precision} with XLA", compiled, "without XLA", plain))
        print(found[-1], flush=True)
    figures.write(options.out, found)


if __name__ == "__main__":
    main()
