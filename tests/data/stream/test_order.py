"""The order of the pictures: every picture once unflipped and once flipped, and batches of similar aspect ratios."""

import numpy as np
import pytest

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.stream.order import training_items, training_order

WIDE, TALL = (40, 60), (50, 30)  # height and width


def pictures(sizes):
    """A data set of pictures of the given heights and widths, without objects; the files do not exist."""
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool)
    examples = tuple(Example(str(i), f"{i}.png", *size, *nothing) for i, size in enumerate(sizes))
    return Dataset("drawn", ("cat",), examples, {})


def take_order(sizes, seed, count, batch_size=1, start=0):
    """The first `count` (position, example index, flip) of pictures of these sizes, or of that many equal pictures."""
    sizes = [WIDE] * sizes if isinstance(sizes, int) else sizes
    items = training_order(pictures(sizes), seed, batch_size, start).take(count).as_numpy_iterator()
    return [(int(position), int(index), bool(flip)) for position, index, flip in items]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 14, 17])
def test_every_epoch_holds_every_picture_unflipped_and_flipped(batch_size):
    order = take_order([WIDE, TALL, WIDE, WIDE, TALL, WIDE, TALL], 3, 3 * 14, batch_size)
    assert [position for position, _, _ in order] == list(range(42))
    epochs = [[item[1:] for item in order[start : start + 14]] for start in (0, 14, 28)]
    for epoch in epochs:
        assert sorted(epoch) == [(index, flip) for index in range(7) for flip in (False, True)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_is_a_function_of_the_seed():
    assert take_order(7, 3, 28) == take_order(7, 3, 28)
    assert take_order(7, 3, 28) != take_order(7, 4, 28)


def test_the_pictures_of_a_batch_have_similar_aspect_ratios():
    # An epoch has 10 wide and 8 tall pictures with their flips: one of its batches of 4 must mix them.
    sizes = [WIDE] * 5 + [TALL] * 4
    epoch, mixed = 18, 0
    order = [index for _, index, _ in take_order(sizes, 1, 24 * epoch, 4)]
    for start in range(0, len(order), 4):
        within_an_epoch = start // epoch == (start + 3) // epoch
        mixed += within_an_epoch and len({sizes[index] for index in order[start : start + 4]}) > 1
    assert mixed <= 24
    # The batches are shuffled: some epochs begin with wide pictures, others with tall ones.
    assert {sizes[order[number * epoch]] for number in range(0, 24, 2)} == {WIDE, TALL}


def test_the_pictures_of_a_batch_change_from_epoch_to_epoch():
    sizes = [(40, 60 + number) for number in range(100)]
    order = [index for _, index, _ in take_order(sizes, 1, 400, 2)]
    pairs = [frozenset(order[start : start + 2]) for start in range(0, 400, 2)]
    assert len(set(pairs[:100]) & set(pairs[100:])) < 50
    # 64 of the 200 pictures are sorted at a time: pairs are a few pixels apart in width; random ones would be 33 apart.
    assert np.mean([max(pair) - min(pair) for pair in pairs]) < 5


@pytest.mark.parametrize("start", [1, 13, 14, 30])
def test_the_order_resumes_at_any_position(start):
    sizes = [WIDE, TALL, WIDE, WIDE, TALL, WIDE, TALL]
    assert take_order(sizes, 3, 20, 4, start) == take_order(sizes, 3, start + 20, 4)[start:]


def test_training_items_are_those_of_the_first_positions_each_once():
    sizes = [WIDE, TALL, WIDE]
    order = [item[1:] for item in take_order(sizes, 3, 12, 2)]
    assert training_items(pictures(sizes), 3, 2, 4) == order[:4]
    assert training_items(pictures(sizes), 3, 2, 12) == order[:6]  # the second epoch repeats the items of the first
    assert training_items(pictures(sizes), 3, 2, 0) == []
