"""The detector head: fc6 and fc7 of VGG16, class logits and per-class deltas (Girshick 2015, section 2)."""

from typing import Any

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import HeadOutput, Tensor
from keras_frcnn.geometry import randomness


@keras.saving.register_keras_serializable("keras_frcnn")
class Head(keras.layers.Layer):
    """Classify pooled RoIs and refine their boxes.

    Initial weights are normal with mean 0.  The standard deviation is 0.01 for the class logits and 0.001 for the
    deltas (Girshick 2015, section 2.3).  In the paper, fc6 and fc7 start from ImageNet weights.  Without these, their
    variance here is 1 / (3 * inputs), a common default for linear layers.  A standard deviation of 0.01 would be too
    large for the 25,088 inputs of fc6: the first losses would be so high that units die.
    """

    def __init__(self, num_classes: int, fc_units: int, dropout: float, seed: int = 0, **kwargs: Any):
        """Create the layers.

        Args:
            num_classes: C, background included.
            fc_units: Units of fc6 and fc7; 4096 for VGG16.
            dropout: The share of the units of fc6 and fc7 that dropout sets to zero, in [0, 1).
            seed: Seed of the initial weights.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.num_classes, self.fc_units, self.dropout, self.seed = num_classes, fc_units, dropout, seed

        def dense(
            name: str, units: int, initializer: keras.initializers.Initializer, activation: str | None = None
        ) -> keras.layers.Dense:
            return keras.layers.Dense(
                units, activation=activation, name=name, dtype=self.dtype_policy, kernel_initializer=initializer
            )

        def by_inputs(seed: int) -> keras.initializers.Initializer:
            return keras.initializers.VarianceScaling(1 / 3, "fan_in", "untruncated_normal", seed=seed)

        normal = keras.initializers.RandomNormal
        self.fc6 = dense("fc6", fc_units, by_inputs(seed + 30), "relu")
        self.fc7 = dense("fc7", fc_units, by_inputs(seed + 31), "relu")
        self.class_logits = dense("class_logits", num_classes, normal(stddev=0.01, seed=seed + 32))
        self.box_deltas = dense("box_deltas", num_classes * 4, normal(stddev=0.001, seed=seed + 33))

    def build(self, pooled_shape: tuple[int | None, int | None, int, int, int]) -> None:
        rows, columns, channels = pooled_shape[-3:]
        self.fc6.build((None, None, rows * columns * channels))
        for layer in (self.fc7, self.class_logits, self.box_deltas):
            layer.build((None, None, self.fc_units))

    def call(self, pooled: Tensor, dropout_seeds: Tensor | None = None) -> HeadOutput:
        """Return float32 logits and normalised deltas of each RoI.

        Args:
            pooled: (B, R, n, n, 512) pooled features.
            dropout_seeds: (B, 2) int32, one seed an image; None turns dropout off.  Dropout depends on the seed only,
                not on the batch or the replica.
        """
        batch, count = tf.shape(pooled)[0], tf.shape(pooled)[1]
        rows, columns, channels = pooled.shape[-3:]
        x = tf.reshape(pooled, [batch, count, rows * columns * channels])
        for layer, purpose in ((self.fc6, randomness.DROPOUT_FC6), (self.fc7, randomness.DROPOUT_FC7)):
            x = layer(x)
            if dropout_seeds is not None and self.dropout > 0:
                x = _dropout(x, self.dropout, dropout_seeds, purpose)
        return HeadOutput(
            logits=tf.cast(self.class_logits(x), tf.float32),
            deltas=tf.cast(tf.reshape(self.box_deltas(x), [batch, count, self.num_classes, 4]), tf.float32),
        )

    def compute_output_spec(
        self, pooled: keras.KerasTensor, dropout_seeds: keras.KerasTensor | None = None
    ) -> HeadOutput:
        batch, count = pooled.shape[:2]
        return HeadOutput(
            keras.KerasTensor((batch, count, self.num_classes), dtype="float32"),
            keras.KerasTensor((batch, count, self.num_classes, 4), dtype="float32"),
        )

    def get_config(self) -> dict[str, Any]:
        names = ("num_classes", "fc_units", "dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _dropout(x: Tensor, rate: float, seeds: Tensor, purpose: int) -> Tensor:
    """Apply inverted dropout to `x` (B, R, units) with one seed an image, `seeds` (B, 2) int32."""
    keep = randomness.uniform(seeds, purpose, tf.shape(x)[1:]) >= rate
    return tf.where(keep, x / (1.0 - rate), tf.zeros([], x.dtype))
