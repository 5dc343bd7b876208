"""VGG16 up to block5_conv3: the 13 convolutional layers that the RPN and the detector share (section 3.3)."""

import keras
import tensorflow as tf

STRIDE = 16
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions); 2x2 pooling between blocks
FROZEN_BLOCKS = 2  # conv1_1 to conv2_2 are never trained


def layer_names() -> list[str]:
    """Keras' own names: block1_conv1 ... block5_conv3."""
    return [f"block{b}_conv{c}" for b, (_, number) in enumerate(BLOCKS, 1) for c in range(1, number + 1)]


@keras.saving.register_keras_serializable("keras_frcnn")
class Backbone(keras.layers.Layer):
    """(B, H, W, 3) normalised images -> (B, H // 16, W // 16, 512) features.

    Images of a padded batch come with their `image_sizes` (B, 2).  Past the first biased convolution padded cells are
    no longer zero and would leak over the image's border: they are set to zero again before each convolution, so that
    an image has the same features in any batch.  `image_sizes` None says that nothing is padded and saves that work.
    """

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.convolutions = []
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

    def build(self, image_shape):
        channels = image_shape[-1]
        for convolution in self.convolutions:
            convolution.build((None, None, None, channels))
            channels = convolution.filters

    def call(self, images, image_sizes=None):
        x, sizes, layers = images, image_sizes, iter(self.convolutions)
        for number, (_, convolutions) in enumerate(BLOCKS):
            if number > 0:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
                sizes = None if sizes is None else sizes // 2
            mask = None if sizes is None else _cells_inside(sizes, x)
            for _ in range(convolutions):
                x = next(layers)(x if mask is None else x * mask)
        return x if mask is None else x * mask

    def compute_output_spec(self, images, image_sizes=None):
        height, width = (None if side is None else side // STRIDE for side in images.shape[1:3])
        return keras.KerasTensor((images.shape[0], height, width, BLOCKS[-1][0]), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def _cells_inside(sizes, features):
    """(B, h, w, 1): 1 on the cells of each image's own extent `sizes` (B, 2), 0 on padding."""
    rows = tf.range(tf.shape(features)[1])[None] < sizes[:, :1]
    columns = tf.range(tf.shape(features)[2])[None] < sizes[:, 1:]
    return tf.cast(rows[:, :, None, None] & columns[:, None, :, None], features.dtype)
