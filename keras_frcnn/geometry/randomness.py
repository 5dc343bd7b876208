"""Random numbers as a pure function of a seed.

Every image of a batch brings its own seed, made of the run's seed and the image's position in the training stream.
What is drawn for it depends on that seed alone: not on the padded shape of its batch, nor on the replica that takes it.
"""

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# One stream for each purpose, so that no two choices are ever made from the same numbers.
FLIP_AND_ORDER, ANCHOR_SAMPLING, ROI_SAMPLING, DROPOUT_FC6, DROPOUT_FC7, OBJECT_SAMPLING, BATCH_ORDER = range(7)


# Without a name TensorFlow chooses the generator by the device.
ALGORITHM = "philox"


def uniform(seeds: Tensor, purpose: int, shape: Tensor) -> Tensor:
    """Independent uniform numbers in [0, 1) for each image: seeds (B, 2) int32 -> (B, *shape) float32.

    A counter draws them in order, so the first numbers do not depend on how many are drawn.
    """

    def one_image(seed):
        key = tf.random.experimental.stateless_fold_in(seed, purpose, alg=ALGORITHM)
        return tf.random.stateless_uniform(shape, key, alg=ALGORITHM)

    return tf.map_fn(one_image, seeds, fn_output_signature=tf.float32)


def uniform_on_grid(seeds, purpose: int, grid_shape, widest: int):
    """(B, h * w * k) float32 for the `grid_shape` (h, w, k), w at most `widest`.

    The number of a cell depends on its row and column, not on the h and w of a padded batch.
    """
    height, width, depth = grid_shape
    drawn = uniform(seeds, purpose, [height, widest, depth])
    return tf.reshape(drawn[:, :, :width], [tf.shape(seeds)[0], -1])
