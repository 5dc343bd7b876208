"""From examples to batches in tf.data: read, decode, turn, augment, resize, flip, normalise, batch, pad, prefetch.

The module `order` decides which picture comes when.

Axes: B images, H W pixels, h w feature cells, c channels, P stored proposals, G ground-truth objects.  Boxes are
float32 in the order y0, x0, y1, x1.  The pixels of a picture are those after `Example.orientation` is applied.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_frcnn.data.augmentation import changes as augmentation
from keras_frcnn.data.augmentation.presets import Preset
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.pictures import images
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.pictures.orientation import apply_orientation
from keras_frcnn.data.stream.order import WHOLE, Share, training_order
from keras_frcnn.data.stream.stored_features import FeatureFiles, read_features
from keras_frcnn.data.stream.tensor_files import read_tensors
from keras_frcnn.data.stream.tuning import untuned
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals, StoredFeatures, Tensor
from keras_frcnn.geometry import boxes as box_ops

NO_FEATURES = tf.float32  # type of the empty features if none are stored
READY_BATCHES = 2  # batches kept ready for each replica

ProposalPaths = Sequence[str | Path] | tuple[Sequence[str | Path], Sequence[str | Path]]  # see `training_batches`


def training_batches(
    dataset: Dataset,
    image_config: ImageConfig,
    batch_size: int,
    seed: int,
    proposal_paths: ProposalPaths | None = None,
    feature_files: FeatureFiles | None = None,
    start: int = 0,
    share: Share = WHOLE,
    augment: Preset | None = None,
) -> tf.data.Dataset:
    """Return an endless stream of shuffled and flipped batches; the replicas take them in turn.

    Args:
        dataset: The training set.
        image_config: The size of the network's input.
        batch_size: B, the images that one replica processes at a time.
        seed: The seed of the order, and the first number of each image's seed in `Batch.seeds`.
        proposal_paths: For each example the file of its proposals, which `tensor_files` reads: a (P, 5) float32 tensor
            of boxes, in pixels of the picture, and scores; or two lists of files, for pictures as they are and for
            mirrored ones, both in pixels of the picture that is not mirrored.  Without it, batches hold no proposals.
        feature_files: Stored features.  Pictures whose features are stored are not decoded.
        start: The position of the first picture of the global batch, see `training_order`.
        share: The part of each global batch that the stream holds.
        augment: The random changes of the pictures besides the flip.  `Batch.original_sizes` are then the sizes of the
            changed pictures before resizing.

    Returns:
        A data set of `Batch` of static batch size.  It raises tf.errors.InvalidArgumentError for a picture that cannot
        be decoded, and tf.errors.NotFoundError for a file that is missing: see `naming_undecodable`.

    Raises:
        ValueError: Both `feature_files` and `augment` are given.  Stored features are those of unchanged pictures.
    """
    if feature_files is not None and augment is not None:
        raise ValueError("feature_files hold the features of unchanged pictures: leave them out, or leave out augment")
    order = training_order(dataset, seed, batch_size * share.replicas * share.pipelines, start)
    order = order.batch(batch_size * share.replicas).shard(share.pipelines, share.pipeline).unbatch()
    load = _loader(dataset, image_config, proposal_paths, feature_files, seed, augment)
    batches = _batch(order, load, batch_size, share.replicas, drop_remainder=True)
    # If the cardinality were finite, tf.distribute would make the batch size dynamic on several workers.
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def evaluation_batches(
    dataset: Dataset,
    image_config: ImageConfig,
    batch_size: int = 1,
    proposal_paths: ProposalPaths | None = None,
    feature_files: FeatureFiles | None = None,
    items: Iterable[tuple[int, bool]] | None = None,
) -> tf.data.Dataset:
    """Return batches of every picture once, in order and unflipped, or of the pictures that `items` lists.

    Args:
        dataset, image_config, proposal_paths, feature_files: See `training_batches`.
        batch_size: B.  The last batch may be smaller.
        items: (example index, flip) of each picture.

    Returns:
        A finite data set of `Batch`, which raises the errors of `training_batches`.  The batch size is static if all
        batches are full.
    """
    items = zip(range(len(dataset.examples)), itertools.repeat(False)) if items is None else items
    indices, flips = zip(*items, strict=False)
    order = tf.data.Dataset.from_tensor_slices((tf.constant(indices, tf.int32), tf.constant(flips, tf.bool)))
    load = _loader(dataset, image_config, proposal_paths, feature_files, 0)
    all_full = len(indices) % batch_size == 0
    return _batch(order, lambda index, flip: load(index, index, flip), batch_size, drop_remainder=all_full)


@contextlib.contextmanager
def naming_undecodable(*datasets: Dataset) -> Iterator[None]:
    """Turn the error of an unreadable picture into an InputError that names its file; tf.data's errors do not.

    To find the file, this decodes the pictures of `datasets` one after another.  If all of them can be decoded, the
    original error continues.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        for example in (example for dataset in datasets for example in dataset.examples):
            try:
                read_example(example)
            except InputError as cause:
                raise cause from error
        raise


class _Input(NamedTuple):
    """The network's input for one picture: the image or its stored features."""

    image: Tensor  # (H, W, 3) float32 normalised, or (0, 0, 3)
    features: StoredFeatures  # maps (h, w, c), or (0, 0, 0); valid ()
    size: Tensor  # (2,) int32, height and width of the resized picture
    original_size: Tensor  # (2,) int32, height and width before resizing


def _loader(
    dataset: Dataset,
    image_config: ImageConfig,
    proposal_paths: ProposalPaths | None,
    feature_files: FeatureFiles | None,
    seed: int,
    augment: Preset | None = None,
) -> Callable[[Tensor, Tensor, Tensor], Batch]:
    """Return a function (position, example index, flip) -> the `Batch` of one picture, without the axis B.

    The arguments are those of `training_batches`.
    """
    ids = tf.constant([example.image_id for example in dataset.examples])
    load_picture = _picture_loader(dataset)
    load_input = _input_loader(load_picture, image_config, feature_files)
    load_objects = _object_loader(dataset)
    load_proposals = _proposal_loader(proposal_paths)

    def load(position: Tensor, index: Tensor, flip: Tensor) -> Batch:
        seeds = tf.stack([seed, position])
        objects, proposals = load_objects(index), load_proposals(index, flip)
        if augment is None:
            image, features, size, original_size = load_input(index, flip)
        else:
            image = load_picture(index)
            window = augmentation.choose_window(tf.shape(image)[:2], objects.boxes, seeds, augment)
            objects = augmentation.move_objects(objects, window)
            proposals = augmentation.move_proposals(proposals, window)
            image = augmentation.cut(image, window)
            original_size = tf.shape(image)[:2]
            size = images.resized_size(original_size, image_config.short_side, image_config.long_side)
            image = augmentation.recolour(images.resize(image, size), seeds, augment)
            image, features, size, original_size = _as_input(images.normalise(image), flip, original_size)
        width = tf.cast(size[1], tf.float32)

        def as_shown(boxes: Tensor) -> Tensor:
            """Resize and flip boxes (..., 4) in pixels before resizing as the image is resized and flipped."""
            boxes = box_ops.to_resized_pixels(boxes, size, original_size)
            return tf.where(flip, box_ops.flip_horizontally(boxes, width), boxes)

        return Batch(
            images=image,
            image_sizes=size,
            original_sizes=original_size,
            image_ids=ids[index],
            seeds=seeds,
            ground_truth=objects._replace(boxes=as_shown(objects.boxes)),
            proposals=proposals._replace(boxes=as_shown(proposals.boxes)),
            features=features,
        )

    return load


def _picture_loader(dataset: Dataset) -> Callable[[Tensor], Tensor]:
    """Return a function: example index -> its decoded picture (H, W, 3) uint8 RGB, turned as its example says."""
    paths = tf.constant([os.fsencode(example.image_path) for example in dataset.examples], tf.string)
    orientations = tf.constant([example.orientation for example in dataset.examples], tf.int32)

    def load_picture(index: Tensor) -> Tensor:
        return apply_orientation(images.decode_image(tf.io.read_file(paths[index])), orientations[index])

    return load_picture


def _as_input(image: Tensor, flip: Tensor, original_size: Tensor, feature_type: tf.DType = NO_FEATURES) -> _Input:
    """The network's input without stored features, from a normalised image (h, w, 3) that is not yet flipped."""
    image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
    no_features = StoredFeatures(maps=tf.zeros([0, 0, 0], feature_type), valid=False)
    return _Input(image, no_features, tf.shape(image)[:2], original_size)


def _input_loader(
    load_picture: Callable[[Tensor], Tensor], image_config: ImageConfig, feature_files: FeatureFiles | None
) -> Callable[[Tensor, Tensor], _Input]:
    """Return a function (example index, flip) -> the network's input, from the feature files or from the pictures."""
    feature_type = NO_FEATURES if feature_files is None else tf.as_dtype(feature_files.dtype)

    def from_picture(index: Tensor, flip: Tensor) -> _Input:
        image = load_picture(index)
        prepared = images.prepare(image, image_config.short_side, image_config.long_side)
        return _as_input(prepared, flip, tf.shape(image)[:2], feature_type)

    if feature_files is None:
        return from_picture
    feature_paths = tf.constant(feature_files.paths)

    def from_store(path: Tensor) -> _Input:
        features, size, original_size = read_features(path, feature_type)
        return _Input(tf.zeros([0, 0, 3]), StoredFeatures(maps=features, valid=True), size, original_size)

    def from_either(index: Tensor, flip: Tensor) -> _Input:
        path = feature_paths[index, tf.cast(flip, tf.int32)]
        return tf.cond(path == "", lambda: from_picture(index, flip), lambda: from_store(path))

    return from_either


def _object_loader(dataset: Dataset) -> Callable[[Tensor], GroundTruth]:
    """Return a function: example index -> its objects that are not difficult, in pixels of the picture."""
    counts = [len(example.boxes) for example in dataset.examples]

    def ragged(name: str, dtype: tf.DType, shape: tuple[int, ...] = ()) -> tf.RaggedTensor:
        """Join a field of all examples, which have `shape` for each object: (N, G of the example, *shape)."""
        values = np.concatenate([np.reshape(getattr(example, name), (-1, *shape)) for example in dataset.examples])
        return tf.RaggedTensor.from_row_lengths(tf.constant(values, dtype), counts)

    boxes, classes = ragged("boxes", tf.float32, (4,)), ragged("classes", tf.int32)
    difficult = ragged("difficult", tf.bool)

    def load(index: Tensor) -> GroundTruth:
        trained_on = tf.logical_not(difficult[index])
        return GroundTruth(
            boxes=tf.boolean_mask(tf.ensure_shape(boxes[index], [None, 4]), trained_on),
            classes=tf.boolean_mask(classes[index], trained_on),
            valid=tf.boolean_mask(trained_on, trained_on),
        )

    return load


def _proposal_loader(proposal_paths: ProposalPaths | None) -> Callable[[Tensor, Tensor], Proposals]:
    """Return a function (example index, flip) -> its stored proposals, in pixels of the picture that is not flipped."""
    paths = None if proposal_paths is None else tf.constant(np.array(proposal_paths, dtype=str))

    def load(index: Tensor, flip: Tensor) -> Proposals:
        if paths is None:
            rows = tf.zeros([0, 5])
        else:
            path = paths[index] if paths.shape.rank == 1 else paths[tf.cast(flip, tf.int32), index]
            (rows,) = read_tensors(path, [tf.float32])
            rows = tf.ensure_shape(rows, [None, 5])
        return Proposals(boxes=rows[:, :4], scores=rows[:, 4], valid=tf.ones_like(rows[:, 4], tf.bool))

    return load


def _batch(
    order: tf.data.Dataset, load: Callable[..., Batch], batch_size: int, replicas: int = 1, *, drop_remainder: bool
) -> tf.data.Dataset:
    """Load the elements of `order` and batch them; with `drop_remainder` the batch size is static."""
    loaded = order.map(load, num_parallel_calls=os.cpu_count())
    # Pad with zeros after normalisation: for an image without padding, a convolution also sees zeros beyond the border.
    # With a static batch size of 1, the model needs neither padding masks nor a loop over the images.
    batches = loaded.padded_batch(batch_size, drop_remainder=drop_remainder)
    return untuned(batches.prefetch(READY_BATCHES * replicas))
