"""How long an iteration of each kind of training takes, as a ratio to its bare arithmetic.

    python tests/benchmarks/iteration.py [--fc-units 4096] [--precision float32] [--out FILE.json]

The bare arithmetic of a kind is one graph with the forward and backward pass of the parts that it trains, and the
update of their weights by a fused kernel: no targets, no sampling, no proposals, no RoI pooling, no losses.  Joint
training is compared with the convolutions alone, without an update.  Both run in turn in one process, so other load on
the machine slows both alike.  The picture and its objects are random.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import figures
import tensorflow as tf
from random_training import random_batch, random_model, random_trainer
from rounds import interleaved_seconds

from keras_frcnn.facts.structures import Batch, StoredFeatures
from keras_frcnn.network.backbone import STRIDE
from keras_frcnn.network.model import FasterRCNN
from training.engine.inference import image_features

KINDS = {
    "joint": ("backbone", "rpn", "head"),
    "step 1": ("backbone", "rpn"),
    "step 2": ("backbone", "head"),
    "step 3": ("rpn",),
    "step 4": ("head",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(600, 800), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--fc-units", type=int, default=4096)
    parser.add_argument("--rois", type=int, default=128)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--balanced", action="store_true", help="the objects take turns, as a plan chooses")
    parser.add_argument("--rounds", type=int, default=9)
    figures.add_out(parser)
    asked = parser.parse_args()

    model = random_model(asked.size, asked.fc_units, asked.rois, asked.precision, asked.balanced)
    batch = random_batch(*asked.size)
    stored = batch._replace(
        images=tf.zeros([1, 0, 0, 3]),
        features=StoredFeatures(maps=image_features(model, batch), valid=tf.constant([True])),
    )
    found = []
    for kind in asked.kinds:
        parts = KINDS[kind]
        trainer = random_trainer(model, parts, batch if "backbone" in parts else stored)
        reference = ("backbone",) if kind == "joint" else parts
        bare = bare_arithmetic(model, reference, batch, asked.rois, updates=kind != "joint")
        times, bare_times = interleaved_seconds([lambda trainer=trainer: trainer.train(1), bare], asked.rounds)
        found.append(figures.ratio(kind, times, f"bare {' + '.join(reference)}", bare_times))
        print(found[-1], flush=True)
        del trainer, bare
    figures.write(asked.out, found)


def bare_arithmetic(model: FasterRCNN, parts: tuple[str, ...], batch: Batch, rois: int, updates: bool):
    """A function: one forward and backward pass of these parts and, if it `updates`, a change of their weights."""
    variables = [variable for part in parts for variable in getattr(model, part).trainable_variables]
    momenta = [tf.Variable(tf.zeros(variable.shape)) for variable in variables] if updates else []
    height, width = (side // STRIDE for side in batch.images.shape[1:3])
    size, channels = model.config.head.pool_size, model.backbone.convolutions[-1].filters
    features = tf.random.stateless_uniform([1, height, width, channels], [0, 0])
    pooled = tf.random.stateless_uniform([1, rois, size, size, channels], [0, 1])

    @tf.function
    def run() -> tf.Tensor:
        watched = [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            maps = model.backbone(batch.images) if "backbone" in parts else features
            outputs = [maps] if "backbone" in parts else []
            outputs += tf.nest.flatten(model.rpn(maps)) if "rpn" in parts else []
            # Where the convolutions train, the gradient of the regions is needed too.
            regions = pooled + 0.0 * tf.cast(tf.reduce_mean(maps), tf.float32) if "backbone" in parts else pooled
            outputs += tf.nest.flatten(model.head(regions)) if "head" in parts else []
            total = tf.add_n([tf.reduce_sum(tf.square(tf.cast(output, tf.float32))) for output in outputs]) * 1e-12
        gradients = tape.gradient(total, watched)
        for variable, momentum, gradient in zip(variables, momenta, gradients, strict=False):
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.value.handle, accum=momentum.handle, lr=1e-12, grad=gradient, momentum=0.9
            )
        return tf.add_n([tf.reshape(gradient, [-1])[0] for gradient in gradients])

    return lambda: run().numpy()


if __name__ == "__main__":
    main()
