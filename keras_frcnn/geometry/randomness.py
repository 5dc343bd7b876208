"""Random numbers as a pure function of a seed.

Every image of a batch has its own seed, made of the run's seed and the image's position in the training stream.  The
numbers drawn for an image depend only on that seed.  They do not depend on the padded shape of the batch or on the
replica that processes the image.
"""

from collections.abc import Sequence

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

# Each purpose has its own random stream, so no two random choices use the same numbers.
# A new purpose gets the next number: another number for an old purpose would change the results of all runs.
FLIP_AND_ORDER = 0
ANCHOR_SAMPLING = 1
ROI_SAMPLING = 2
DROPOUT_FC6 = 3
DROPOUT_FC7 = 4
OBJECT_SAMPLING = 5
BATCH_ORDER = 6
WINDOW = 7
CROP = 8
COLOURS = 9

# Without a name TensorFlow chooses the generator by the device.
ALGORITHM = "philox"


def uniform(seeds: Tensor, purpose: int, shape: Sequence[int] | Tensor) -> Tensor:
    """Draw independent uniform numbers in [0, 1) for each image.

    The numbers come from a counter, in order: drawing fewer rows gives the first rows of a longer draw.

    Args:
        seeds: (B, 2) int32.
        purpose: One of the constants of this module.
        shape: The shape of one image's numbers.

    Returns:
        (B, *shape) float32.
    """

    def one_image(seed: Tensor) -> Tensor:
        key = tf.random.experimental.stateless_fold_in(seed, purpose, alg=ALGORITHM)
        return tf.random.stateless_uniform(shape, key, alg=ALGORITHM)

    return tf.map_fn(one_image, seeds, fn_output_signature=tf.float32)


def uniform_on_grid(
    seeds: Tensor, purpose: int, grid_shape: tuple[int | Tensor, int | Tensor, int], widest: int
) -> Tensor:
    """Draw uniform numbers in [0, 1) for the anchors of a feature grid.

    The number of a cell depends on its row and column only, not on the height and width of a padded batch.

    Args:
        seeds: (B, 2) int32.
        purpose: One of the constants of this module.
        grid_shape: (h, w, k), with w at most `widest`.
        widest: The largest width of any grid.  It must be the same in every call.

    Returns:
        (B, h * w * k) float32.
    """
    height, width, depth = grid_shape
    drawn = uniform(seeds, purpose, [height, widest, depth])
    return tf.reshape(drawn[:, :, :width], [tf.shape(seeds)[0], -1])
