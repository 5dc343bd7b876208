"""A short training of the RPN, which compares anchors before a run.

The anchors that cover more objects are not always the better ones: more anchors have fewer positives each, and the
network must learn all of them.  So each set of anchors trains an RPN for a short time on features of the starting
weights, like step 3, and its proposals are measured on pictures that it did not train on.  All pictures are from the
training set.
"""

import dataclasses
import gc
import itertools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.order import Share, training_items
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.facts.config import AnchorConfig, DetectorConfig
from keras_frcnn.network.forward import detection_counts
from keras_frcnn.network.model import FasterRCNN
from training.engine.distribution import spread
from training.engine.objectives import losses_of
from training.engine.schedules import StepDecay
from training.engine.solver import Optimisation
from training.engine.trainer import NonFiniteLoss, Trainer
from training.run.start import Start, starting_model
from training.run.stores.features import FeatureCache, stored_features
from training.run.stores.proposals import measure_recall, store_proposals

TRAINED_ON = 48  # pictures
MEASURED_ON = 32
FEWEST = 8  # pictures with objects; with fewer, anchors are not tried
PROPOSALS = (300, 2000)  # of a picture that count: in detection, and in the training of a detector

_ITERATIONS = 200
_LEARNING_RATE = 0.002
_CACHE_BYTES = 2**31


class Pictures(NamedTuple):
    """The pictures of a trial."""

    train: Dataset
    measure: Dataset


def trial_pictures(dataset: Dataset, seed: int) -> Pictures | None:
    """Some pictures to train on and others to measure on, all with objects; None if there are fewer than `FEWEST`."""
    with_objects = np.flatnonzero([not np.all(example.difficult) for example in dataset.examples])
    if len(with_objects) < FEWEST:
        return None
    chosen = np.random.default_rng(seed).permutation(with_objects)[: TRAINED_ON + MEASURED_ON]
    border = round(len(chosen) * TRAINED_ON / (TRAINED_ON + MEASURED_ON))
    return Pictures(*(dataset.select(sorted(part)) for part in (chosen[:border], chosen[border:])))


def anchor_recall(
    dataset: Dataset, config: DetectorConfig, start: Start, precision: str, seed: int, folder: pathlib.Path
) -> Callable[[AnchorConfig], float] | None:
    """A function that tries anchors: the recall of an RPN that was trained with them for a short time.

    Args:
      dataset: the training set.
      config: the configuration of the detector; its anchors are replaced.
      start: the starting weights.
      precision: the number format of the network's layers.
      seed: of the choice of pictures and of the training.
      folder: for the features and the proposals; the caller deletes it.

    Returns:
      The function, which returns the average recall (over IoU 0.5 to 0.95), the mean over the classes and over the
      numbers of proposals of `PROPOSALS`, or 0 if the training diverged.  None if the data set has too few pictures
      with objects.
    """
    pictures = trial_pictures(dataset, seed)
    if pictures is None:
        return None

    trials = itertools.count()

    def recall(anchors: AnchorConfig) -> float:
        model = starting_model(
            dataclasses.replace(config, anchors=anchors), dataset.class_names, start, seed, precision
        )
        try:
            found = _train_and_measure(model, pictures, seed, folder / "features", folder / f"trial{next(trials)}")
        except NonFiniteLoss:
            return 0.0
        finally:
            gc.collect()
        return mean_recall(found)

    return recall


def mean_recall(result: RecallResult) -> float:
    """The average recall, as the mean over the numbers of `PROPOSALS` and the classes that have objects."""
    places = [result.counts.index(count) for count in PROPOSALS]
    return float(np.mean([one.recalls[places].mean() for one in result.classes if one.objects]))


def _train_and_measure(
    model: FasterRCNN, pictures: Pictures, seed: int, feature_folder: pathlib.Path, proposal_folder: pathlib.Path
) -> RecallResult:
    """Train the layers of the RPN alone, and measure its proposals.  All trials share the stored features."""
    cache = FeatureCache(feature_folder, model, _CACHE_BYTES)
    items = training_items(pictures.train, seed, 1, _ITERATIONS)
    features = stored_features(cache, pictures.train, items, "trying anchors: features")
    schedule = StepDecay(_LEARNING_RATE, _ITERATIONS, drop_at=0.75, warmup=_ITERATIONS // 10)
    trainer = Trainer(model, losses_of(("rpn",)), ("rpn",), schedule, Optimisation(clip_norm=20.0))

    def batches(share: Share) -> tf.data.Dataset:
        return training_batches(pictures.train, model.config.image, 1, seed, None, features, share=share)

    trainer.feed(spread(batches))
    trainer.train(_ITERATIONS)
    upright = [(index, False) for index in range(len(pictures.measure.examples))]
    features = stored_features(cache, pictures.measure, upright, "trying anchors: features")
    counts = detection_counts(model.config)._replace(after_nms=max(PROPOSALS))
    store_proposals(model, pictures.measure, proposal_folder, counts, "trying anchors: proposals", features)
    return measure_recall(proposal_folder, pictures.measure)
