"""VGG16 up to block5_conv3: the 13 convolutional layers that the RPN and the detector share (paper, section 3.1).

Axes: B images, H W pixels, h w feature cells.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

STRIDE = 16
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions); 2x2 pooling between blocks
FROZEN_BLOCKS = 2  # block1_conv1 to block2_conv2 are never trained: the paper tunes conv3_1 and up (section 3.1.3)


@keras.saving.register_keras_serializable("keras_frcnn")
class Backbone(keras.layers.Layer):
    """Compute the features of normalised images.

    In a padded batch, the bias of the first convolution makes the padding nonzero, and the next convolution would mix
    it into the cells at the image's border.  The padding is therefore set to zero again before each convolution.  An
    image has the same features in every batch.
    """

    def __init__(self, seed: int = 0, **kwargs: Any):
        """Create the convolutions with random weights, which depend on `seed`."""
        super().__init__(**kwargs)
        self.seed = seed
        self.convolutions: list[keras.layers.Conv2D] = []
        for number, (channels, convolutions) in enumerate(BLOCKS, 1):
            for c in range(1, convolutions + 1):
                convolution = keras.layers.Conv2D(
                    channels,
                    3,
                    padding="same",
                    activation="relu",
                    name=f"block{number}_conv{c}",
                    dtype=self.dtype_policy,
                    kernel_initializer=keras.initializers.GlorotUniform(seed + len(self.convolutions)),
                )
                convolution.trainable = number > FROZEN_BLOCKS
                self.convolutions.append(convolution)

    def build(self, image_shape: tuple[int | None, ...]) -> None:
        channels = image_shape[-1]
        for convolution in self.convolutions:
            convolution.build((None, None, None, channels))
            channels = convolution.filters

    def call(self, images: Tensor, image_sizes: Tensor | None = None) -> Tensor:
        """Return the features (B, H // 16, W // 16, 512) of images (B, H, W, 3).

        Args:
            images: (B, H, W, 3) normalised, BGR, zero outside each image.
            image_sizes: (B, 2) int32, height and width of each image; None if no image is padded, which is faster.
        """
        x, sizes, layers = images, image_sizes, iter(self.convolutions)
        for number, (_, convolutions) in enumerate(BLOCKS):
            if number > 0:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
                sizes = None if sizes is None else sizes // 2
            mask = None if sizes is None else _cells_inside(sizes, x)
            for _ in range(convolutions):
                x = next(layers)(x if mask is None else x * mask)
        return x if mask is None else x * mask

    def compute_output_spec(
        self, images: keras.KerasTensor, image_sizes: keras.KerasTensor | None = None
    ) -> keras.KerasTensor:
        height, width = (None if side is None else side // STRIDE for side in images.shape[1:3])
        return keras.KerasTensor((images.shape[0], height, width, BLOCKS[-1][0]), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def _cells_inside(sizes: Tensor, features: Tensor) -> Tensor:
    """Return a mask (B, h, w, 1): 1 in the cells of each image, given by `sizes` (B, 2) in cells, and 0 in padding."""
    rows = tf.range(tf.shape(features)[1])[None] < sizes[:, :1]
    columns = tf.range(tf.shape(features)[2])[None] < sizes[:, 1:]
    return tf.cast(rows[:, :, None, None] & columns[:, None, :, None], features.dtype)
