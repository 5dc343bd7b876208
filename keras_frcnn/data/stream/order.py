"""The order in which training takes the pictures, and which of them are flipped.

The order is a pure function of the seed and of the position in the stream, so a training can resume at any position.
The pictures of a batch have similar aspect ratios, so that batches need little padding.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.facts.structures import Tensor
from keras_frcnn.geometry import randomness

SORTED_BATCHES = 32  # pictures are sorted by aspect ratio within this many global batches


class Share(NamedTuple):
    """The part of each global batch that one input pipeline reads: the mini-batches of the replicas that it feeds."""

    pipeline: int = 0  # index of this input pipeline
    pipelines: int = 1  # number of input pipelines
    replicas: int = 1  # number of replicas that each input pipeline feeds


WHOLE = Share()


def training_order(dataset: Dataset, seed: int, batch_size: int, start: int = 0) -> tf.data.Dataset:
    """Return the endless order of the training pictures.

    Horizontal flips double the training set (section 3.3): each epoch holds every picture once unflipped and once
    flipped, in a random order that differs from epoch to epoch.  Counted from position 0, each `batch_size` pictures
    form a global batch and have similar aspect ratios: within SORTED_BATCHES batches the pictures are sorted by aspect
    ratio, and then the batches are shuffled.  Batches that span two epochs are not sorted.

    Args:
        dataset: At least one example.
        seed: The seed of the order.
        batch_size: The size of the global batch.
        start: The first position.

    Returns:
        A stream of (position () int32, example index () int32, flip () bool).
    """
    count = 2 * len(dataset.examples)
    aspects = tf.constant([example.width / example.height for example in dataset.examples])

    def one_epoch(epoch: Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in([seed, tf.cast(epoch, tf.int32)], randomness.FLIP_AND_ORDER)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key)
        if batch_size > 1:
            # The first pictures complete the last batch of the previous epoch; the last ones begin a batch that the
            # next epoch completes.
            first = tf.minimum(tf.cast(-epoch * count % batch_size, tf.int32), count)
            behind = first + (count - first) // batch_size * batch_size
            whole = _by_aspect(order[first:behind], tf.gather(aspects, order[first:behind] // 2), batch_size, key)
            order = tf.concat([order[:first], whole, order[behind:]], axis=0)
        return tf.data.Dataset.from_tensor_slices(order)

    first_epoch, position_in_epoch = divmod(start, count)
    items = tf.data.Dataset.range(first_epoch, 2**31).flat_map(one_epoch).skip(position_in_epoch)
    items = items.enumerate(start)
    return items.map(lambda position, item: (tf.cast(position, tf.int32), item // 2, item % 2 == 1))


def training_items(dataset: Dataset, seed: int, batch_size: int, count: int) -> list[tuple[int, bool]]:
    """List the (example index, flip) that the first `count` positions of `training_order` use, each once.

    The arguments `dataset`, `seed` and `batch_size` are those of `training_order`.
    """
    # From the second epoch on, the items repeat.
    order = training_order(dataset, seed, batch_size).take(min(count, 2 * len(dataset.examples)))
    return [(int(index), bool(flip)) for _, index, flip in untuned(order).as_numpy_iterator()]


def _by_aspect(order: Tensor, aspects: Tensor, batch_size: int, key: Tensor) -> Tensor:
    """Rearrange shuffled pictures into batches of similar aspect ratios.

    Args:
        order: (N,) int32, pictures in random order; N is a multiple of `batch_size`.
        aspects: (N,) float32, their width / height.
        batch_size: The size of the global batch.
        key: (2,) int32, the random key of the epoch.

    Returns:
        (N,) int32, the elements of `order` batch by batch.
    """
    count = tf.size(order)
    by_aspect = tf.argsort(aspects, stable=True)
    # Sort by stretch of SORTED_BATCHES batches.  The sort is stable, so each stretch stays sorted by aspect ratio.
    within = tf.argsort(tf.gather(tf.range(count) // (SORTED_BATCHES * batch_size), by_aspect), stable=True)
    batches = tf.reshape(tf.gather(order, tf.gather(by_aspect, within)), [-1, batch_size])
    key = tf.random.experimental.stateless_fold_in(key, randomness.BATCH_ORDER)
    return tf.reshape(tf.random.experimental.stateless_shuffle(batches, key), [-1])
