"""Shared by all tests: no accelerator, quiet logs, one small detector and one small VOC tree."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

CLASS_NAMES = ("cat", "dog", "hen")


@pytest.fixture(scope="session")
def small_config():
    """A detector that sees the objects of pictures of about 64 x 96 pixels, in milliseconds."""
    from keras_frcnn.facts.config import AnchorConfig, DetectorConfig, HeadConfig, ImageConfig, RPNConfig, TestConfig

    return DetectorConfig(
        anchors=AnchorConfig(scales=(16.0, 32.0)),
        image=ImageConfig(short_side=64, long_side=128),
        rpn=RPNConfig(channels=32, min_size=4.0, train_post_nms_topk=50),
        head=HeadConfig(fc_units=32, batch_size=32),
        test=TestConfig(pre_nms_topk=100, post_nms_topk=40, max_detections=20),
    )


@pytest.fixture(scope="session")
def make_model(small_config):
    """Build a small detector whose random scores lie far apart: near-ties would turn on rounding."""
    import keras

    from keras_frcnn.network.model import FasterRCNN

    def make(seed=0, dtype="float32", config=small_config):
        keras.utils.set_random_seed(seed)  # the same test values in every run, the backbone's too
        model = FasterRCNN(config, CLASS_NAMES, seed=seed, dtype=dtype)
        for layer in (model.rpn.scores, model.head.class_logits):
            layer.kernel.assign(layer.kernel * 20.0)
        return model

    return make


@pytest.fixture(scope="session")
def model(make_model):
    """A small detector, shared: a test that changes weights makes its own."""
    return make_model()


@pytest.fixture(scope="session")
def make_batch():
    """Build a training batch of random images of the given sizes, padded with zeros, two objects in each."""
    import tensorflow as tf

    from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals, StoredFeatures

    def make(sizes, seed=0, first_position=0):
        sizes = np.array(sizes, np.int32)
        count, (height, width) = len(sizes), sizes.max(axis=0)
        images = np.zeros((count, height, width, 3), np.float32)
        boxes = np.tile(np.float32([[4, 6, 36, 40], [20, 30, 48, 60]]), (count, 1, 1))
        proposals = np.zeros((count, 12, 4), np.float32)
        for row, (h, w) in enumerate(sizes):
            rng = np.random.default_rng([seed, first_position + row])
            images[row, :h, :w] = rng.normal(0.0, 60.0, (h, w, 3))
            top_left = rng.uniform(0, 24, (12, 2))
            proposals[row] = np.concatenate([top_left, top_left + rng.uniform(8, 24, (12, 2))], axis=-1)
        positions = first_position + np.arange(count)
        return Batch(
            images=tf.constant(images),
            image_sizes=tf.constant(sizes),
            original_sizes=tf.constant(sizes),
            image_ids=tf.constant([f"picture{position}" for position in positions]),
            seeds=tf.constant(np.stack([np.full(count, seed), positions], axis=-1), tf.int32),
            ground_truth=GroundTruth(
                tf.constant(boxes), tf.constant([[1, 2]] * count), tf.constant([[True, True]] * count)
            ),
            proposals=Proposals(
                tf.constant(proposals), tf.ones((count, 12)), tf.constant(np.ones((count, 12), bool))
            ),
            features=StoredFeatures(tf.zeros((count, 0, 0, 512)), tf.zeros(count, tf.bool)),
        )

    return make


@pytest.fixture(scope="session")
def voc_tree(tmp_path_factory):
    """A VOC tree of drawn scenes, 4 pictures to train on and 2 to measure on, 64 x 96 pixels; not to be changed."""
    from keras_frcnn.data.sources.drawn import write_synthetic

    directory = tmp_path_factory.mktemp("voc") / "tree"
    write_synthetic(directory, {"train": 4, "val": 2}, seed=0, size=(64, 96))
    return directory
