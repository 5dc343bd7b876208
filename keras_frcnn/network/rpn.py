"""The layers of the region proposal network that follow the backbone (paper, section 3.1)."""

from typing import Any

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import RPNOutput, Tensor


@keras.saving.register_keras_serializable("keras_frcnn")
class RPN(keras.layers.Layer):
    """A 3x3 convolution, then two 1x1 convolutions: 2 class logits and 4 box deltas for each of k anchors a cell.

    All kernels start from a normal distribution with standard deviation 0.01 (section 3.1.3).
    """

    def __init__(self, anchors_per_cell: int, channels: int, seed: int = 0, **kwargs: Any):
        """Create the convolutions.

        Args:
            anchors_per_cell: k, the number of scales times the number of aspect ratios.
            channels: Filters of the 3x3 convolution; 512 for VGG16 in the paper.
            seed: Seed of the initial weights.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.anchors_per_cell, self.channels, self.seed = anchors_per_cell, channels, seed

        def convolution(
            name: str, filters: int, size: int, offset: int, activation: str | None = None
        ) -> keras.layers.Conv2D:
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

    def build(self, feature_shape: tuple[int | None, ...]) -> None:
        self.shared.build(feature_shape)
        hidden = (*feature_shape[:-1], self.channels)
        self.scores.build(hidden)
        self.box_deltas.build(hidden)

    def call(self, features: Tensor) -> RPNOutput:
        """Return float32 logits and deltas for the h * w * k anchors of features (B, h, w, 512)."""
        hidden = self.shared(features)
        batch = tf.shape(features)[0]
        return RPNOutput(
            logits=tf.cast(tf.reshape(self.scores(hidden), [batch, -1, 2]), tf.float32),
            deltas=tf.cast(tf.reshape(self.box_deltas(hidden), [batch, -1, 4]), tf.float32),
        )

    def compute_output_spec(self, features: keras.KerasTensor) -> RPNOutput:
        batch = features.shape[0]
        return RPNOutput(
            keras.KerasTensor((batch, None, 2), dtype="float32"), keras.KerasTensor((batch, None, 4), dtype="float32")
        )

    def get_config(self) -> dict[str, Any]:
        own = {"anchors_per_cell": self.anchors_per_cell, "channels": self.channels, "seed": self.seed}
        return {**super().get_config(), **own}
