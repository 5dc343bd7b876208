"""From examples to batches, in tf.data: read, decode, resize, flip, normalise, pad, batch, prefetch.

The order of the pictures, and which are flipped, is a pure function of the seed and of the position in the stream.
Pictures of a batch are of about one aspect ratio, so that little of it is padding.
"""

import contextlib
import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.geometry import boxes as box_ops
from keras_frcnn.data import images
from keras_frcnn.geometry import randomness
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stored_features import FeatureFiles, read_features
from keras_frcnn.data.tuning import untuned
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals, StoredFeatures, Tensor

NO_FEATURES = tf.float32  # the type of features where none are stored
SORTED_BATCHES = 32  # in which pictures find others of their aspect ratio
READY_BATCHES = 2  # that wait for a replica


class Share(NamedTuple):
    """Which mini-batches of a global batch one input pipeline gives: those of the replicas that it feeds."""

    pipeline: int = 0
    pipelines: int = 1
    replicas: int = 1  # of one pipeline


WHOLE = Share()


def training_order(dataset: Dataset, seed: int, batch_size: int, start: int = 0) -> tf.data.Dataset:
    """An endless stream of (position, example index, flip or not), from position `start` on.

    Horizontal flips double the training set: each epoch holds every picture once as it is and once flipped, in an
    order of its own.  From position 0 on, each `batch_size` pictures, those of one global batch, are of
    about one aspect ratio: within SORTED_BATCHES batches pictures are sorted by it, and then the batches shuffled.
    """
    count = 2 * len(dataset.examples)
    aspects = tf.constant([example.width / example.height for example in dataset.examples])

    def one_epoch(epoch):
        key = tf.random.experimental.stateless_fold_in([seed, tf.cast(epoch, tf.int32)], randomness.FLIP_AND_ORDER)
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key)
        if batch_size > 1:
            # The first pictures fill the last batch of the epoch before, the last ones begin one of the next.
            first = tf.minimum(tf.cast(-epoch * count % batch_size, tf.int32), count)
            behind = first + (count - first) // batch_size * batch_size
            whole = _by_aspect(order[first:behind], tf.gather(aspects, order[first:behind] // 2), batch_size, key)
            order = tf.concat([order[:first], whole, order[behind:]], axis=0)
        return tf.data.Dataset.from_tensor_slices(order)

    first_epoch, position_in_epoch = divmod(start, count)
    items = tf.data.Dataset.range(first_epoch, 2**31).flat_map(one_epoch).skip(position_in_epoch)
    items = items.enumerate(start)
    return items.map(lambda position, item: (tf.cast(position, tf.int32), item // 2, item % 2 == 1))


def _by_aspect(order, aspects, batch_size: int, key):
    """Bring (N,) pictures into whole batches of about one aspect ratio each."""
    count = tf.size(order)
    by_aspect = tf.argsort(aspects, stable=True)
    # A stable sort by stretch of what is sorted by aspect is sorted by aspect within each stretch.
    within = tf.argsort(tf.gather(tf.range(count) // (SORTED_BATCHES * batch_size), by_aspect), stable=True)
    batches = tf.reshape(tf.gather(order, tf.gather(by_aspect, within)), [-1, batch_size])
    key = tf.random.experimental.stateless_fold_in(key, randomness.BATCH_ORDER)
    return tf.reshape(tf.random.experimental.stateless_shuffle(batches, key), [-1])


def training_items(dataset: Dataset, seed: int, batch_size: int, count: int) -> list[tuple[int, bool]]:
    """The (example index, flip or not) that the first `count` positions of `training_order` use, each once."""
    order = training_order(dataset, seed, batch_size).take(min(count, 2 * len(dataset.examples)))
    return [(int(index), bool(flip)) for _, index, flip in untuned(order).as_numpy_iterator()]


def _load(dataset: Dataset, image_config: ImageConfig, proposal_paths, feature_files: FeatureFiles | None, seed: int):
    """A function (position, index, flip) -> one picture's `Batch` without the batch axis."""
    examples = dataset.examples
    paths = tf.constant([example.image_path for example in examples])
    ids = tf.constant([example.image_id for example in examples])
    counts = [len(example.boxes) for example in examples]

    def ragged(name, dtype, shape=()):
        values = np.concatenate([np.reshape(getattr(example, name), (-1, *shape)) for example in examples])
        return tf.RaggedTensor.from_row_lengths(tf.constant(values, dtype), counts)

    boxes, classes = ragged("boxes", tf.float32, (4,)), ragged("classes", tf.int32)
    difficult = ragged("difficult", tf.bool)
    proposal_paths = None if proposal_paths is None else tf.constant([str(path) for path in proposal_paths])

    feature_type = tf.as_dtype(feature_files.dtype) if feature_files else NO_FEATURES
    feature_paths = tf.constant(feature_files.paths) if feature_files else None

    def from_picture(index, flip):
        image = images.decode_image(tf.io.read_file(paths[index]))
        original_size = tf.shape(image)[:2]
        image = images.prepare(image, image_config.short_side, image_config.long_side)
        image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
        no_features = StoredFeatures(maps=tf.zeros([0, 0, 0], feature_type), valid=False)
        return image, no_features, tf.shape(image)[:2], original_size

    def from_store(path):
        features, size, original_size = read_features(path, feature_type)
        return tf.zeros([0, 0, 3]), StoredFeatures(maps=features, valid=True), size, original_size

    def load(position, index, flip):
        if feature_paths is None:
            image, features, size, original_size = from_picture(index, flip)
        else:
            path = feature_paths[index, tf.cast(flip, tf.int32)]
            image, features, size, original_size = tf.cond(
                path == "", lambda: from_picture(index, flip), lambda: from_store(path)
            )
        width = tf.cast(size[1], tf.float32)

        def as_shown(rows: Tensor) -> Tensor:
            """Boxes in pixels of the stored picture, resized and flipped as the image is."""
            rows = box_ops.to_resized_pixels(rows, size, original_size)
            return tf.where(flip, box_ops.flip_horizontally(rows, width), rows)

        trained_on = tf.logical_not(difficult[index])
        gt_boxes = as_shown(tf.ensure_shape(boxes[index], [None, 4]))
        if proposal_paths is None:
            stored = tf.zeros([0, 5])
        else:
            stored = tf.io.parse_tensor(tf.io.read_file(proposal_paths[index]), tf.float32)
            stored = tf.ensure_shape(stored, [None, 5])
        return Batch(
            images=image,
            image_sizes=size,
            original_sizes=original_size,
            image_ids=ids[index],
            seeds=tf.stack([seed, position]),
            ground_truth=GroundTruth(
                boxes=tf.boolean_mask(gt_boxes, trained_on),
                classes=tf.boolean_mask(classes[index], trained_on),
                valid=tf.boolean_mask(trained_on, trained_on),
            ),
            proposals=Proposals(
                boxes=as_shown(stored[:, :4]), scores=stored[:, 4], valid=tf.ones_like(stored[:, 4], tf.bool)
            ),
            features=features,
        )

    return load


def training_batches(
    dataset: Dataset,
    image_config: ImageConfig,
    batch_size: int,
    seed: int,
    proposal_paths=None,
    feature_files: FeatureFiles | None = None,
    start: int = 0,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """An endless stream of shuffled, flipped batches of `batch_size` for one replica after the other.

    The first picture of all replicas' first batches is that at position `start`.  `proposal_paths` has each example's
    stored proposals, in pixels of the stored picture.  Pictures with stored features are not decoded.  The batch size
    is static.
    """
    order = training_order(dataset, seed, batch_size * share.replicas * share.pipelines, start)
    order = order.batch(batch_size * share.replicas).shard(share.pipelines, share.pipeline).unbatch()
    load = _load(dataset, image_config, proposal_paths, feature_files, seed)
    batches = _batch(order, load, batch_size, share.replicas, drop_remainder=True)
    # If tf.distribute expected an end, it would make the batch size dynamic on several workers.
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def evaluation_batches(
    dataset: Dataset,
    image_config: ImageConfig,
    batch_size: int = 1,
    proposal_paths=None,
    feature_files: FeatureFiles | None = None,
    items=None,
) -> tf.data.Dataset:
    """Every picture once, in order and not flipped; or the (example index, flip or not) of `items`.

    The last batch may be smaller than `batch_size`.  If all batches are full, the batch size is static.
    """
    items = zip(range(len(dataset.examples)), itertools.repeat(False)) if items is None else items
    indices, flips = zip(*items, strict=False)
    order = tf.data.Dataset.from_tensor_slices((tf.constant(indices, tf.int32), tf.constant(flips, tf.bool)))
    load = _load(dataset, image_config, proposal_paths, feature_files, 0)
    all_full = len(indices) % batch_size == 0
    return _batch(order, lambda index, flip: load(index, index, flip), batch_size, drop_remainder=all_full)


def _batch(
    order: tf.data.Dataset, load: Callable, batch_size: int, replicas: int = 1, *, drop_remainder: bool
) -> tf.data.Dataset:
    """Batches of what `load` makes of each element of `order`.  The batch size is static with `drop_remainder`."""
    loaded = order.map(load, num_parallel_calls=os.cpu_count())
    # Pad with zeros after normalisation: a convolution also sees zeros beyond the border of an image without padding.
    # A static batch size lets the model skip padding masks and the loop over images where a batch is one image.
    batches = loaded.padded_batch(batch_size, drop_remainder=drop_remainder)
    return untuned(batches.prefetch(READY_BATCHES * replicas))


@contextlib.contextmanager
def naming_undecodable(*datasets: Dataset):
    """Turn the error of a picture that cannot be decoded into an InputError that names it: tf.data's names no file."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        for example in (example for dataset in datasets for example in dataset.examples):
            try:
                images.decode_image(tf.io.read_file(example.image_path))
            except tf.errors.OpError as cause:
                problem = f"not a readable picture ({cause.message[:120]})"
                raise InputError(example.image_path, problem, "replace or remove it") from error
        raise
