"""Random numbers as a pure function of a seed.

Every image of a batch brings its own seed, made of the run's seed and the image's position in the training stream.
What is drawn for it depends on that seed and on the padded shape of the batch, not on the replica that computes it.
"""

import tensorflow as tf

# One stream for each purpose, so that no two choices are ever made from the same numbers.
FLIP_AND_ORDER, ANCHOR_SAMPLING, ROI_SAMPLING, DROPOUT_FC6, DROPOUT_FC7 = range(5)


def uniform(seeds, purpose: int, shape):
    """Independent uniform numbers in [0, 1) for each image: seeds (B, 2) int32 -> (B, *shape) float32."""

    def one_image(seed):
        return tf.random.stateless_uniform(shape, tf.random.experimental.stateless_fold_in(seed, purpose))

    return tf.map_fn(one_image, seeds, fn_output_signature=tf.float32)
