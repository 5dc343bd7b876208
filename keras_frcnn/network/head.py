"""The detector head: fc6 and fc7 of VGG16, class logits and per-class deltas (Girshick 2015, section 2)."""

import keras
import tensorflow as tf

from keras_frcnn.geometry import randomness
from keras_frcnn.facts.structures import HeadOutput


@keras.saving.register_keras_serializable("keras_frcnn")
class Head(keras.layers.Layer):
    """(B, R, n, n, 512) pooled RoIs -> HeadOutput over `num_classes` classes, background included.

    The class logits start from N(0, 0.01), the deltas from N(0, 0.001).  `dropout_seeds` (B, 2) int32 turns dropout on:
    one stateless stream an image, so that a replica or the batch an image is in changes nothing.

    The paper has fc6 and fc7 from ImageNet.  Where they are new they start from N(0, 1 / (3 inputs)), as linear layers
    do in other frameworks: under N(0, 0.01) the 25,088 large features make logits and first losses that kill units.
    """

    def __init__(self, num_classes: int, fc_units: int, dropout: float, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.fc_units, self.dropout, self.seed = num_classes, fc_units, dropout, seed

        def dense(name, units, initializer, activation=None):
            return keras.layers.Dense(
                units, activation=activation, name=name, dtype=self.dtype_policy, kernel_initializer=initializer
            )

        def by_inputs(seed):
            return keras.initializers.VarianceScaling(1 / 3, "fan_in", "untruncated_normal", seed=seed)

        normal = keras.initializers.RandomNormal
        self.fc6 = dense("fc6", fc_units, by_inputs(seed + 30), "relu")
        self.fc7 = dense("fc7", fc_units, by_inputs(seed + 31), "relu")
        self.class_logits = dense("class_logits", num_classes, normal(stddev=0.01, seed=seed + 32))
        self.box_deltas = dense("box_deltas", num_classes * 4, normal(stddev=0.001, seed=seed + 33))

    def build(self, pooled_shape):
        rows, columns, channels = pooled_shape[-3:]
        self.fc6.build((None, None, rows * columns * channels))
        for layer in (self.fc7, self.class_logits, self.box_deltas):
            layer.build((None, None, self.fc_units))

    def call(self, pooled, dropout_seeds=None):
        batch, count = tf.shape(pooled)[0], tf.shape(pooled)[1]
        rows, columns, channels = pooled.shape[-3:]
        x = tf.reshape(pooled, [batch, count, rows * columns * channels])
        for layer, purpose in ((self.fc6, randomness.DROPOUT_FC6), (self.fc7, randomness.DROPOUT_FC7)):
            x = layer(x)
            if dropout_seeds is not None:
                x = _dropout(x, self.dropout, dropout_seeds, purpose)
        return HeadOutput(
            logits=tf.cast(self.class_logits(x), tf.float32),
            deltas=tf.cast(tf.reshape(self.box_deltas(x), [batch, count, self.num_classes, 4]), tf.float32),
        )

    def compute_output_spec(self, pooled, dropout_seeds=None):
        batch, count = pooled.shape[:2]
        return HeadOutput(
            keras.KerasTensor((batch, count, self.num_classes), dtype="float32"),
            keras.KerasTensor((batch, count, self.num_classes, 4), dtype="float32"),
        )

    def get_config(self):
        names = ("num_classes", "fc_units", "dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _dropout(x, rate: float, seeds, purpose: int):
    """Inverted dropout of (B, R, units), one seed an image: seeds (B, 2) int32."""
    keep = randomness.uniform(seeds, purpose, tf.shape(x)[1:]) >= rate
    return tf.where(keep, x / (1.0 - rate), tf.zeros([], x.dtype))
