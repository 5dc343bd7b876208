"""The input pipeline: boxes stay on their objects through resizing and flipping; padding, stored proposals, errors."""

import collections
import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures.files import read_example
from keras_frcnn.data.stream.order import training_order
from keras_frcnn.data.stream.pipeline import evaluation_batches, naming_undecodable, training_batches
from keras_frcnn.data.stream.tensor_files import write_tensors
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError

CONFIG = ImageConfig(short_side=64, long_side=1000)
RED, BLUE = (220, 20, 30), (20, 40, 200)
BOX = (10.0, 5.0, 25.0, 20.0)  # yxyx in a picture of 40 x 60, which is resized to 64 x 96, by 1.6
RESIZED_BOX = [16.0, 8.0, 40.0, 32.0]
TALL = (50, 30)  # height and width
FLIPPED_BOX = [16.0, 64.0, 40.0, 88.0]


def write_picture(path, box=BOX, size=(40, 60), mode="RGB", **save):
    """A blue picture with a red rectangle."""
    pixels = np.full((*size, 3), BLUE, np.uint8)
    y0, x0, y1, x1 = map(int, box)
    pixels[y0:y1, x0:x1] = RED
    Image.fromarray(pixels).convert(mode).save(path, **save)
    return path


def make_example(path, boxes=(BOX,), classes=None, difficult=None, size=(40, 60)):
    count = len(boxes)
    return Example(
        Path(path).stem,
        str(path),
        *size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes or [1] * count, np.int32),
        np.array(difficult or [False] * count, bool),
    )


def make_dataset(*examples):
    return Dataset("drawn", ("cat", "dog"), examples, {})


def take_order(dataset, seed, count, batch_size=1):
    """The first `count` (example index, flip)."""
    items = training_order(dataset, seed, batch_size).take(count).as_numpy_iterator()
    return [(int(index), bool(flip)) for _, index, flip in items]


@pytest.fixture
def one(tmp_path):
    return make_dataset(make_example(write_picture(tmp_path / "one.png")))


# Training batches.


def take(batches, count):
    return list(batches.take(count))


def test_boxes_stay_on_their_object_through_resizing_and_flipping(one, denormalise):
    order = take_order(one, seed=5, count=4)
    seen = collections.Counter()
    for (_, flip), batch in zip(order, take(training_batches(one, CONFIG, 1, seed=5), 4), strict=True):
        assert batch.images.shape == (1, 64, 96, 3) and batch.image_sizes.numpy().tolist() == [[64, 96]]
        (box,) = batch.ground_truth.boxes[0].numpy().tolist()
        np.testing.assert_allclose(box, FLIPPED_BOX if flip else RESIZED_BOX, atol=1e-4)
        seen[flip] += 1
        picture = denormalise(batch.images[0])
        y0, x0, y1, x1 = np.round(box).astype(int)
        inside = np.zeros((64, 96), bool)
        inside[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = True
        outside = np.ones((64, 96), bool)
        outside[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = False
        assert (np.abs(picture[inside] - RED) <= 1).all()
        assert (np.abs(picture[outside] - BLUE) <= 1).all()
    assert seen == {True: 2, False: 2}


def test_difficult_objects_are_not_trained_on(tmp_path):
    boxes = [(1, 1, 9, 9), BOX, (20, 30, 30, 50)]
    example = make_example(write_picture(tmp_path / "a.png"), boxes, [1, 2, 1], [True, False, True])
    for batch in take(training_batches(make_dataset(example), CONFIG, 1, seed=0), 2):
        truth = batch.ground_truth
        assert truth.classes.numpy().tolist() == [[2]] and truth.valid.numpy().tolist() == [[True]]
        assert truth.boxes.numpy()[0, :, [0, 2]].ravel().tolist() == [16.0, 40.0]


def test_a_batch_is_padded_with_zeros_and_holds_the_sizes(tmp_path):
    wide = make_example(write_picture(tmp_path / "wide.png"), [BOX, (1, 1, 9, 9)], [2, 1])
    tall = make_example(write_picture(tmp_path / "tall.png", size=TALL), (), size=TALL)
    dataset = make_dataset(wide, tall)
    order = [index for index, _ in take_order(dataset, 1, 16, batch_size=4)]
    for number, batch in enumerate(take(training_batches(dataset, CONFIG, 4, seed=1), 4)):
        ids = [image_id.decode() for image_id in batch.image_ids.numpy()]
        assert ids == [("wide", "tall")[index] for index in order[4 * number : 4 * number + 4]]
        w, t = ids.index("wide"), ids.index("tall")
        assert batch.images.shape == (4, 107, 96, 3)
        assert batch.image_sizes.numpy()[[w, t]].tolist() == [[64, 96], [107, 64]]
        assert batch.original_sizes.numpy()[[w, t]].tolist() == [[40, 60], [50, 30]]
        pixels = batch.images.numpy()
        assert (pixels[w, 64:] == 0).all() and (pixels[t, :, 64:] == 0).all()
        assert (pixels[w, :64] != 0).any(axis=-1).all() and (pixels[t, :, :64] != 0).any(axis=-1).all()
        truth = batch.ground_truth
        assert truth.valid.numpy()[[w, t]].tolist() == [[True, True], [False, False]]
        assert truth.classes.numpy()[[w, t]].tolist() == [[2, 1], [0, 0]]
        assert (truth.boxes.numpy()[t] == 0).all()


def test_pictures_without_objects_give_empty_ground_truth(tmp_path):
    dataset = make_dataset(make_example(write_picture(tmp_path / "a.png"), ()))
    (batch,) = take(training_batches(dataset, CONFIG, 2, seed=0), 1)
    assert batch.ground_truth.boxes.shape == (2, 0, 4) and batch.ground_truth.classes.shape == (2, 0)
    assert batch.proposals.boxes.shape == (2, 0, 4) and batch.proposals.valid.shape == (2, 0)


def test_each_position_in_the_stream_has_its_own_seed(one):
    seeds = np.concatenate([batch.seeds for batch in take(training_batches(one, CONFIG, 2, seed=9), 4)])
    assert seeds.tolist() == [[9, position] for position in range(8)]


def test_stored_proposals_are_resized_and_flipped_with_their_picture(tmp_path):
    names = ("one", "two")
    # In pixels of the 40 x 60 picture.  The second box ends in the lower right corner.
    stored = {"one": [[*BOX, 0.75], [0.0, 30.0, 40.0, 60.0, 0.5]], "two": np.zeros((0, 5))}
    paths = []
    for name in names:
        paths.append(tmp_path / f"{name}.tfrecord")
        write_tensors(paths[-1], [tf.constant(stored[name], tf.float32)])
    dataset = make_dataset(*(make_example(write_picture(tmp_path / f"{name}.png")) for name in names))
    flips = [flip for _, flip in take_order(dataset, seed=2, count=16, batch_size=2)]
    rows = 0
    for number, batch in enumerate(take(training_batches(dataset, CONFIG, 2, seed=2, proposal_paths=paths), 8)):
        for row, image_id in enumerate(batch.image_ids.numpy()):
            proposals = type(batch.proposals)(*(field[row].numpy() for field in batch.proposals))
            if image_id == b"two":
                assert not proposals.valid.any() and not proposals.boxes.any() and not proposals.scores.any()
                continue
            rows += 1
            assert proposals.valid.tolist() == [True, True] and proposals.scores.tolist() == [0.75, 0.5]
            np.testing.assert_allclose(proposals.boxes[0], batch.ground_truth.boxes[row, 0], atol=1e-4)
            other = [0, 0, 64, 48] if flips[2 * number + row] else [0, 48, 64, 96]
            assert proposals.boxes[1].tolist() == other
    assert rows == 8


def test_mirrored_pictures_can_have_proposals_of_their_own(tmp_path):
    """Both files are in pixels of the 40 x 60 picture, which the network sees at 64 x 96."""
    paths = []
    for name, left in (("upright", 2.0), ("mirrored", 6.0)):
        rows = tf.constant([[1.0, left, 5.0, left + 4.0, 0.5]])
        paths.append([tmp_path / f"{name}.tfrecord"])
        write_tensors(paths[-1][0], [rows])
    dataset = make_dataset(make_example(write_picture(tmp_path / "one.png")))
    flips = [flip for _, flip in take_order(dataset, seed=2, count=8)]
    assert any(flips) and not all(flips)
    batches = take(training_batches(dataset, CONFIG, 1, seed=2, proposal_paths=(paths[0], paths[1])), 8)
    for flip, batch in zip(flips, batches, strict=True):
        expected = [1.6, 96 - 16, 8, 96 - 9.6] if flip else [1.6, 3.2, 8, 9.6]
        np.testing.assert_allclose(batch.proposals.boxes, [[expected]], rtol=1e-5)


# Evaluation batches.


@pytest.mark.parametrize("batch_size", [1, 2])
def test_evaluation_takes_every_picture_once_in_order_and_unflipped(tmp_path, batch_size):
    names = ["c", "a", "b"]
    dataset = make_dataset(
        *(make_example(write_picture(tmp_path / f"{name}.png"), difficult=[name == "a"]) for name in names)
    )
    batches = list(evaluation_batches(dataset, CONFIG, batch_size))
    assert [image_id.decode() for batch in batches for image_id in batch.image_ids.numpy()] == names
    for batch in batches:
        for row, image_id in enumerate(batch.image_ids.numpy()):
            if image_id != b"a":
                np.testing.assert_allclose(batch.ground_truth.boxes[row], [RESIZED_BOX], atol=1e-4)
            assert batch.ground_truth.valid[row].numpy().sum() == (image_id != b"a")


def batch_sizes(batches):
    """The sizes of the batch axis in `element_spec`; None if it is dynamic."""
    return {spec.shape[0] for spec in tf.nest.flatten(batches.element_spec)}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_training_batches_have_a_static_batch_size(one, batch_size):
    batches = training_batches(one, CONFIG, batch_size, seed=0)
    assert batch_sizes(batches) == {batch_size}
    # With a finite number of batches, tf.distribute would make the batch size of several workers dynamic.
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize(("batch_size", "static", "sizes"), [(1, 1, [1] * 6), (3, 3, [3, 3]), (4, None, [4, 2])])
def test_evaluation_batches_have_a_static_batch_size_if_all_are_full(one, batch_size, static, sizes):
    batches = evaluation_batches(one._replace(examples=one.examples * 6), CONFIG, batch_size)
    assert batch_sizes(batches) == {static}
    assert [len(batch.image_ids) for batch in batches] == sizes


@pytest.mark.parametrize("make", [evaluation_batches, functools.partial(training_batches, seed=0)])
def test_batches_are_not_autotuned(one, make):
    assert make(one, CONFIG, 1).options().autotune.enabled is False


# Picture files.


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("L", "jpg"), ("P", "png"), ("RGBA", "png"), ("RGB", "jpg")]
)
def test_every_kind_of_jpeg_and_png_becomes_rgb(tmp_path, mode, suffix, denormalise):
    path = write_picture(tmp_path / f"a.{suffix}", mode=mode)
    (batch,) = evaluation_batches(make_dataset(make_example(path)), CONFIG)
    assert batch.images.shape == (1, 64, 96, 3)
    picture = denormalise(batch.images[0])
    with Image.open(path) as stored:
        expected = np.array(stored.convert("RGB").resize((96, 64), Image.Resampling.BILINEAR), int)
    assert np.abs(picture - expected).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_are_turned_as_their_examples_say(tmp_path, stored_turned, orientation, suffix):
    shown = Image.open(write_picture(tmp_path / "shown.png"))
    stored, exif = stored_turned(shown, orientation)
    assert stored.size == ((60, 40) if orientation < 5 else (40, 60))
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **({"quality": 100, "subsampling": 0} if suffix == "jpg" else {}))
    example = make_example(tmp_path / f"a.{suffix}")._replace(orientation=orientation)
    expected = make_dataset(make_example(tmp_path / "shown.png"), example)
    for flip, box in ((False, RESIZED_BOX), (True, FLIPPED_BOX)):
        plain, turned = evaluation_batches(expected, CONFIG, items=[(0, flip), (1, flip)])
        assert turned.original_sizes.numpy().tolist() == [[40, 60]]
        assert turned.ground_truth.boxes.numpy().tolist() == [[box]]
        np.testing.assert_allclose(turned.images, plain.images, atol=4 if suffix == "jpg" else 0)
    np.testing.assert_allclose(read_example(example).astype(int), shown, atol=4 if suffix == "jpg" else 0)


def test_the_example_and_not_the_file_says_how_a_picture_is_turned(tmp_path, denormalise):
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers turn the picture by 90 degrees
    path = write_picture(tmp_path / "a.jpg", exif=exif)
    (batch,) = evaluation_batches(make_dataset(make_example(path)), CONFIG)
    assert batch.original_sizes.numpy().tolist() == [[40, 60]] and batch.images.shape == (1, 64, 96, 3)
    picture = denormalise(batch.images[0])
    assert np.abs(picture[18:38, 10:30] - RED).mean() < 10
    assert read_example(make_example(path)).shape == (40, 60, 3)


def test_the_error_of_an_undecodable_picture_names_its_file(tmp_path):
    good = make_example(write_picture(tmp_path / "good.jpg"))
    cut = write_picture(tmp_path / "cut.jpg")
    cut.write_bytes(cut.read_bytes()[:-300])
    dataset = make_dataset(good, make_example(cut))
    with (
        pytest.raises(InputError, match=rf"^{cut}: not a readable picture \(.*; replace or remove it$"),
        naming_undecodable(dataset),
    ):
        list(evaluation_batches(dataset, CONFIG))


def test_the_error_of_a_picture_that_is_gone_names_it(tmp_path):
    gone = write_picture(tmp_path / "gone.jpg")
    dataset = make_dataset(make_example(write_picture(tmp_path / "good.jpg")), make_example(gone))
    gone.unlink()
    with (
        pytest.raises(InputError, match=rf"^{gone}: no such file; restore it, or remove its annotation$"),
        naming_undecodable(dataset),
    ):
        list(evaluation_batches(dataset, CONFIG))


def test_other_errors_of_the_graph_are_not_changed(tmp_path):
    dataset = make_dataset(make_example(write_picture(tmp_path / "good.jpg")))
    with pytest.raises(tf.errors.InvalidArgumentError), naming_undecodable(dataset):
        tf.debugging.assert_equal(tf.constant(1), tf.constant(2))
