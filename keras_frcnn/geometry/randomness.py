"""Random numbers as a pure function of a seed.

Every image of a batch brings its own seed, made of the run's seed and the image's position in the training stream.
What is drawn for it depends on that seed alone: not on the padded shape of its batch, nor on the replica that takes it.
"""

import tensorflow as tf

# One stream for each purpose, so that no two choices are ever made from the same numbers.
FLIP_AND_ORDER, ANCHOR_SAMPLING, ROI_SAMPLING, DROPOUT_FC6, DROPOUT_FC7, OBJECT_SAMPLING, BATCH_ORDER = range(7)


def uniform(seeds, purpose: int, shape):
    """Independent uniform numbers in [0, 1) for each image: seeds (B, 2) int32 -> (B, *shape) float32.

    They are drawn in order by a counter, so fewer rows are the first of more rows.
    """

    def one_image(seed):
        return tf.random.stateless_uniform(shape, tf.random.experimental.stateless_fold_in(seed, purpose))

    return tf.map_fn(one_image, seeds, fn_output_signature=tf.float32)


def uniform_on_grid(seeds, purpose: int, grid_shape, widest: int):
    """(B, h * w * k) float32 for the `grid_shape` (h, w, k), w at most `widest`.

    The number of a cell depends on its row and column, not on the h and w of a padded batch.
    """
    height, width, depth = grid_shape
    drawn = uniform(seeds, purpose, [height, widest, depth])
    return tf.reshape(drawn[:, :, :width], [tf.shape(seeds)[0], -1])
