"""Train a small detector on 20 mini-batches of each network, on the replicas asked for, and store the weights of each.

    python train_on_replicas.py one|two|worker TREE PROPOSALS OUT

one: one device, a batch of two; two: two logical CPU devices with one picture each; worker: as TF_CONFIG says, one
picture each.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig, ImageConfig, RPNConfig
from keras_frcnn.network.forward import Counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import connect_machines, local_strategy, spread
from training.engine.objectives import head_losses, rpn_losses
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer
from training.run.stores.proposals import store_proposals
from training.run.stores.rows import row_paths

MINI_BATCHES = 20
CONFIG = DetectorConfig(
    anchors=AnchorConfig(scales=(16.0, 32.0)),
    image=ImageConfig(short_side=64, long_side=128),
    rpn=RPNConfig(channels=32, min_size=4.0, train_post_nms_topk=50),
    head=HeadConfig(fc_units=32, batch_size=32, dropout=0.5),
)


def main(mode, tree, proposals, out):
    if mode == "two":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = connect_machines() or local_strategy()
    with strategy.scope():
        dataset = load_dataset(DataSpec(data=f"voc:{tree}"), "train")
        images = 2 // strategy.num_replicas_in_sync
        keras.utils.set_random_seed(0)
        model = FasterRCNN(CONFIG, dataset.class_names, seed=0)
        store_proposals(model, dataset, proposals, Counts(0, 50), "proposals")
        accumulating = Optimisation(accumulate=2, clip_norm=1.0)
        for losses, parts, seed, optimisation in (
            (rpn_losses, ("backbone", "rpn"), 1, Optimisation()),
            (head_losses, ("backbone", "head"), 2, accumulating),
        ):
            iterations = MINI_BATCHES // optimisation.accumulate
            trainer = Trainer(model, losses, parts, StepDecay(0.001, iterations, 0.75), optimisation)

            def batches(share, seed=seed):
                return training_batches(dataset, CONFIG.image, images, seed, row_paths(proposals, dataset), share=share)

            distributed = spread(batches)
            specs = tf.nest.flatten(distributed.element_spec, expand_composites=True)
            print("static batch sizes", {spec.shape[0] for spec in specs}, flush=True)
            trainer.feed(distributed)
            output = trainer.train(iterations)
            print(mode, strategy.num_replicas_in_sync, "replicas", output, flush=True)
        replicas = {}
        for variable in model.variables:
            for number, value in enumerate(strategy.experimental_local_results(variable.value)):
                replicas[f"{number}/{variable.path}"] = value.numpy()
    np.savez(out, **replicas)


if __name__ == "__main__":
    main(*sys.argv[1:])
