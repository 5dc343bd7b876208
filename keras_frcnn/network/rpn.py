"""The region proposal network's own layers (section 3.1)."""

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import RPNOutput


@keras.saving.register_keras_serializable("keras_frcnn")
class RPN(keras.layers.Layer):
    """A 3x3 convolution, then for each of k anchors a cell 2 class scores and 4 deltas.

    (B, h, w, 512) features -> RPNOutput over h * w * k anchors.  New layers start from N(0, 0.01).
    """

    def __init__(self, anchors_per_cell: int, channels: int, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.anchors_per_cell, self.channels, self.seed = anchors_per_cell, channels, seed

        def convolution(name, filters, size, offset, activation=None):
            return keras.layers.Conv2D(
                filters,
                size,
                padding="same",
                activation=activation,
                name=name,
                dtype=self.dtype_policy,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=seed + offset),
            )

        self.shared = convolution("rpn_conv", channels, 3, 20, "relu")
        self.scores = convolution("rpn_scores", 2 * anchors_per_cell, 1, 21)
        self.box_deltas = convolution("rpn_deltas", 4 * anchors_per_cell, 1, 22)

    def build(self, feature_shape):
        self.shared.build(feature_shape)
        hidden = (*feature_shape[:-1], self.channels)
        self.scores.build(hidden)
        self.box_deltas.build(hidden)

    def call(self, features):
        hidden = self.shared(features)
        batch = tf.shape(features)[0]
        return RPNOutput(
            logits=tf.cast(tf.reshape(self.scores(hidden), [batch, -1, 2]), tf.float32),
            deltas=tf.cast(tf.reshape(self.box_deltas(hidden), [batch, -1, 4]), tf.float32),
        )

    def compute_output_spec(self, features):
        batch = features.shape[0]
        return RPNOutput(
            keras.KerasTensor((batch, None, 2), dtype="float32"), keras.KerasTensor((batch, None, 4), dtype="float32")
        )

    def get_config(self):
        own = {"anchors_per_cell": self.anchors_per_cell, "channels": self.channels, "seed": self.seed}
        return {**super().get_config(), **own}
