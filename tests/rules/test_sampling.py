"""Balanced sampling of positives and negatives: hand-computed cases and invariants."""

import math

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.rules.targets import sample_balanced

PRIORITIES = [0.1, 0.9, 0.5, 0.3, 0.8, 0.0, 0.6, 0.99]


def sample(positive, negative, count, fraction, priorities):
    """Sample from lists of indices; returns the indices of the chosen positives and of the chosen negatives."""
    n = len(priorities)
    masks = [np.isin(np.arange(n), indices)[None] for indices in (positive, negative)]
    chosen = sample_balanced(*masks, count, fraction, tf.constant([priorities], tf.float32))
    return tuple(np.flatnonzero(mask[0]).tolist() for mask in chosen)


def test_the_highest_priorities_are_chosen():
    assert sample([0, 1, 2], [3, 4, 5, 6], 4, 0.5, PRIORITIES) == ([1, 2], [4, 6])


def test_negatives_fill_the_sample_if_positives_are_missing():
    assert sample([0], [3, 4, 5, 6], 4, 0.5, PRIORITIES) == ([0], [3, 4, 6])
    assert sample([], [3, 4, 5, 6], 3, 0.5, PRIORITIES) == ([], [3, 4, 6])


def test_positives_never_replace_missing_negatives():
    assert sample([0, 1, 2], [4], 4, 0.5, PRIORITIES) == ([1, 2], [4])
    assert sample([0, 1, 2], [], 4, 0.5, PRIORITIES) == ([1, 2], [])


def test_the_number_of_positives_is_rounded_down():
    assert sample([0, 1, 2], [3, 4, 5, 6], 5, 0.5, PRIORITIES) == ([1, 2], [3, 4, 6])
    assert sample([0, 1, 2], [3, 4, 5, 6], 3, 0.25, PRIORITIES) == ([], [3, 4, 6])


def test_a_sample_larger_than_the_boxes_takes_all():
    # Box 5 has priority 0, the lowest that can be drawn.  It still ranks above boxes outside the mask.
    assert sample([1, 5], [0, 3], 100, 0.5, PRIORITIES) == ([1, 5], [0, 3])


def test_equal_priorities_do_not_enlarge_the_sample():
    assert sample([0, 1, 2], [3, 4, 5, 6], 4, 0.5, [0.5] * 8) == ([0, 1], [3, 4])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.booleans(),
)
def test_sampling_invariants(seed, boxes, count, fraction, coarse):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (2, boxes))
    priorities = rng.random((2, boxes)).astype(np.float32)
    if coarse:  # many ties
        priorities = np.floor(priorities * 3) / 3
    is_positive, is_negative = kind == 1, kind == 2
    positive, negative = (
        chosen.numpy() for chosen in sample_balanced(is_positive, is_negative, count, fraction, priorities)
    )
    assert not np.any(positive & ~is_positive) and not np.any(negative & ~is_negative)
    assert not np.any(positive & negative)
    for i in range(2):
        expected = min(is_positive[i].sum(), math.floor(count * fraction))
        assert positive[i].sum() == expected
        assert negative[i].sum() == min(is_negative[i].sum(), count - expected)
        for chosen, every in ((positive[i], is_positive[i]), (negative[i], is_negative[i])):
            if chosen.any() and (every & ~chosen).any():
                assert priorities[i][chosen].min() >= priorities[i][every & ~chosen].max()
