"""What the benchmarks of training share: a model, and a trainer that sees one random picture again and again."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.facts.config import DetectorConfig, HeadConfig, ImageConfig
from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals, StoredFeatures
from keras_frcnn.network.model import FasterRCNN
from training.engine.objectives import losses_of
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import Trainer

CLASSES, OBJECTS, PROPOSALS = 20, 8, 2000


def random_model(
    size: tuple[int, int],
    fc_units: int = 4096,
    rois: int = 128,
    precision: str = "float32",
    balanced: bool = False,
    classes: int = CLASSES,
) -> FasterRCNN:
    """A new model for pictures of `size`, height and width in pixels.

    Args:
      size: height and width of the pictures.
      fc_units: units of fc6 and fc7.
      rois: regions in a mini-batch, from all of its pictures.
      precision: the number format of the layers.
      balanced: whether the objects take turns in the choice of anchors and regions, as a plan chooses.
      classes: without the background.
    """
    config = DetectorConfig(
        image=ImageConfig(short_side=min(size), long_side=max(size)),
        head=HeadConfig(batch_size=rois, fc_units=fc_units, balanced_foreground=balanced),
    )
    config = dataclasses.replace(config, rpn=dataclasses.replace(config.rpn, balanced_positives=balanced))
    return FasterRCNN(config, [f"class {number}" for number in range(classes)], dtype=precision)


def random_trainer(model: FasterRCNN, parts: tuple[str, ...], batch: Batch) -> Trainer:
    """A trainer of these parts of the model, whose rate is so small that the weights stay as they are."""
    trainer = Trainer(model, losses_of(parts), parts, StepDecay(1e-12, 1, 1.0), Optimisation())
    strategy, batches = tf.distribute.get_strategy(), endless(batch)
    if strategy.num_replicas_in_sync > 1:
        batches = strategy.distribute_datasets_from_function(lambda _: endless(batch))
    trainer.feed(batches)
    return trainer


def random_batch(height: int, width: int) -> Batch:
    """A batch of one picture with objects and proposals."""
    rng = np.random.default_rng(0)

    def boxes(count: int) -> tf.Tensor:
        short = min(height, width)
        sides = rng.uniform(min(40, short / 4), short / 2, (count, 2))
        corners = rng.uniform(0, 1, (count, 2)) * ([height, width] - sides)
        return tf.constant(np.concatenate([corners, corners + sides], axis=1)[None], tf.float32)

    return Batch(
        images=tf.constant(rng.uniform(-128, 128, (1, height, width, 3)), tf.float32),
        image_sizes=tf.constant([[height, width]]),
        original_sizes=tf.constant([[height, width]]),
        image_ids=tf.constant(["random"]),
        seeds=tf.constant([[0, 0]]),
        ground_truth=GroundTruth(
            boxes(OBJECTS), tf.ones([1, OBJECTS], tf.int32), tf.ones([1, OBJECTS], tf.bool)
        ),
        proposals=Proposals(boxes(PROPOSALS), tf.zeros([1, PROPOSALS]), tf.ones([1, PROPOSALS], tf.bool)),
        features=StoredFeatures(maps=tf.zeros([1, 0, 0, 0]), valid=tf.constant([False])),
    )  # fmt: skip


def endless(batch: Batch) -> tf.data.Dataset:
    """A stream of the same batch, whose height and width the graph does not know, as in training."""

    def any_size(value: tf.Tensor) -> tf.TensorSpec:
        shape = value.shape
        return tf.TensorSpec([shape[0], None, None, shape[-1]] if shape.rank == 4 else shape, value.dtype)

    signature = tf.nest.map_structure(any_size, batch)
    return untuned(tf.data.Dataset.from_generator(lambda: itertools.repeat(batch), output_signature=signature))
