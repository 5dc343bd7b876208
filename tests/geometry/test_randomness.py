"""Random numbers depend on the seed and the purpose only."""

import functools

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.geometry import randomness

SEEDS = tf.constant([[1, 0], [1, 1], [2, 0], [0, 1]])
PURPOSES = [
    randomness.FLIP_AND_ORDER,
    randomness.ANCHOR_SAMPLING,
    randomness.ROI_SAMPLING,
    randomness.DROPOUT_FC6,
    randomness.DROPOUT_FC7,
    randomness.OBJECT_SAMPLING,
    randomness.BATCH_ORDER,
]


def test_the_same_seed_gives_the_same_numbers():
    first = randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [5, 2])
    assert first.shape == (4, 5, 2) and first.dtype == tf.float32
    np.testing.assert_array_equal(first, randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [5, 2]))


def test_the_global_seed_and_earlier_draws_do_not_matter():
    tf.random.set_seed(1)
    first = randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [5])
    tf.random.set_seed(2)
    tf.random.uniform([3])
    np.testing.assert_array_equal(first, randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [5]))


def test_the_batch_does_not_matter():
    together = randomness.uniform(SEEDS, randomness.ANCHOR_SAMPLING, [7]).numpy()
    for i in range(4):
        alone = randomness.uniform(SEEDS[i : i + 1], randomness.ANCHOR_SAMPLING, [7])
        np.testing.assert_array_equal(alone[0], together[i])
    backwards = randomness.uniform(SEEDS[::-1], randomness.ANCHOR_SAMPLING, [7])
    np.testing.assert_array_equal(backwards, together[::-1])


def test_graph_and_eager_agree():
    drawn = tf.function(lambda seeds: randomness.uniform(seeds, randomness.FLIP_AND_ORDER, [6]))(SEEDS)
    np.testing.assert_array_equal(drawn, randomness.uniform(SEEDS, randomness.FLIP_AND_ORDER, [6]))


def test_every_seed_and_purpose_has_its_own_numbers():
    assert len(set(PURPOSES)) == 7
    drawn = np.stack([randomness.uniform(SEEDS, purpose, [8]) for purpose in PURPOSES]).reshape(28, 8)
    assert len(np.unique(drawn)) == 224


def test_uniform_from_zero_to_one():
    numbers = randomness.uniform(tf.constant([[3, 4]]), randomness.DROPOUT_FC6, [4000]).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    shares, _ = np.histogram(numbers, bins=10, range=(0, 1))
    np.testing.assert_allclose(shares / 4000, 0.1, atol=0.02)


@settings(deadline=None)
@given(fewer=st.integers(0, 300), more=st.integers(0, 300), units=st.sampled_from([1, 3, 8]))
def test_fewer_rows_are_the_first_of_more(fewer, more, units):
    """Padded batches need this: the numbers of a row do not depend on how many rows are drawn."""
    short = randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [fewer, units])
    long = randomness.uniform(SEEDS, randomness.ROI_SAMPLING, [fewer + more, units])
    np.testing.assert_array_equal(short, long[:, :fewer])


def test_the_number_of_a_cell_does_not_depend_on_the_padding():
    draw = functools.partial(randomness.uniform_on_grid, SEEDS, randomness.ANCHOR_SAMPLING, widest=12)
    alone = draw((3, 5, 2)).numpy()
    padded = draw((7, 12, 2)).numpy().reshape(4, 7, 12, 2)
    np.testing.assert_array_equal(alone.reshape(4, 3, 5, 2), padded[:, :3, :5])
    assert len(np.unique(padded)) == padded.size
