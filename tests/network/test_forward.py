"""The forward pass: what its functions hand to the parts."""

import numpy as np
import tensorflow as tf

from keras_frcnn.network import forward
from keras_frcnn.network.roi_pooling import roi_pool


def test_the_head_takes_the_pooled_regions(model):
    rng = np.random.default_rng(0)
    features = tf.constant(rng.random((1, 4, 6, 512), np.float32))
    boxes = tf.constant([[[0.0, 0.0, 64.0, 96.0], [16.0, 32.0, 48.0, 80.0]]])
    image_sizes = tf.constant([[64, 96]])
    parts = model.parts._replace(head=lambda pooled: pooled)
    pooled = forward.pool_regions(parts, features, boxes, image_sizes)
    assert pooled.shape == (1, 2, 7, 7, 512)
    np.testing.assert_array_equal(pooled, roi_pool(features, boxes, image_sizes, 7, 16))
    np.testing.assert_array_equal(forward.classify(parts, features, boxes, image_sizes), pooled)
