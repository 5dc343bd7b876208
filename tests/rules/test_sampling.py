"""Balanced sampling of positives and negatives: hand-computed cases and invariants."""

import math

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_frcnn.rules.targets import sample_balanced, take_turns

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


def turns_oracle(mask, owners, priorities):
    """The order in which boxes are chosen if the objects take turns: lists and loops."""
    queues = {}
    for box in sorted(np.flatnonzero(mask).tolist(), key=lambda box: -priorities[box]):
        queues.setdefault(owners[box], []).append(box)
    chosen = []
    while any(queues.values()):
        turn = [queue.pop(0) for queue in queues.values() if queue]
        chosen += sorted(turn, key=lambda box: (-priorities[box], box))
    return chosen


def test_objects_take_turns():
    # Object 0 has boxes 0 to 3, object 1 has box 4, object 2 has boxes 5 and 6.  Box 7 may not be chosen.
    mask = np.arange(8)[None] < 7
    turns = take_turns(mask, np.array([[0, 0, 0, 0, 1, 2, 2, 1]]), np.float32([PRIORITIES]))
    order = [box for box in np.argsort(-turns[0].numpy()) if box < 7]
    # First 0.9 of object 0, 0.8 of object 1 and 0.6 of object 2, then 0.5 and 0.0, then the rest of object 0.
    assert order == [1, 4, 6, 2, 5, 3, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 5), st.booleans())
def test_turns_invariants(seed, boxes, objects, coarse):
    rng = np.random.default_rng(seed)
    mask, owners = rng.random((2, boxes)) < 0.6, rng.integers(0, objects, (2, boxes)).astype(np.int32)
    priorities = rng.random((2, boxes)).astype(np.float32)
    if coarse:  # many ties
        priorities = np.floor(priorities * 3) / 3
    turns = take_turns(tf.constant(mask), tf.constant(owners), tf.constant(priorities)).numpy()
    assert turns.dtype == np.float64 and np.all((turns > -boxes) & (turns < 1))
    for row in range(2):
        assert (turns[row][~mask[row]] == priorities[row][~mask[row]]).all()
        order = np.argsort(-turns[row], kind="stable")
        assert order[mask[row][order]].tolist() == turns_oracle(mask[row], owners[row], priorities[row])
        # Whatever the number of chosen boxes, an object that has more left never has two fewer than another.
        for count in range(mask[row].sum()):
            chosen = turns_oracle(mask[row], owners[row], priorities[row])[:count]
            taken = np.bincount(owners[row][chosen], minlength=objects)
            left = np.bincount(owners[row][mask[row]], minlength=objects) - taken
            assert all(taken[i] >= taken.max() - 1 for i in range(objects) if left[i])
