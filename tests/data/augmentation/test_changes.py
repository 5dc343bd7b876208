"""Augmentation: boxes and proposals move as the pixels do, some object always stays, and all of it follows the seed."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_frcnn.data.augmentation import changes as augmentation
from keras_frcnn.data.augmentation.presets import PRESETS, Preset
from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.pictures import images
from keras_frcnn.data.stream.order import training_order
from keras_frcnn.data.stream.pipeline import training_batches
from keras_frcnn.data.stream.stored_features import FeatureFiles
from keras_frcnn.data.stream.tensor_files import write_tensors
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.structures import Batch, GroundTruth, Proposals

CONFIG = ImageConfig(short_side=96, long_side=200)
SQUARE, GROUND = (250, 240, 40), (100, 110, 125)  # the ground is near the grey of the canvas
CHAINS = 500  # random chains of each preset
# No change at all; tests replace single fields.
STILL = Preset(0.0, (1, 1), (1, 1), 0.7, 0.0, (1, 1), 0.0, (1, 1), (1, 1), 0.0, 0.0, (1, 1))
# In pictures of 72 x 100: one, two and three squares; some touch the border.
SQUARES = (
    [(20, 30, 44, 60)],
    [(0, 0, 16, 20), (50, 70, 72, 100)],
    [(4, 6, 20, 24), (30, 40, 52, 66), (60, 4, 72, 18)],
    [(10, 10, 66, 90)],
)


def write_proposals(path: Path, boxes: np.ndarray) -> Path:
    """Store boxes as proposals, the first with score 1, the second with 1/2, the third with 1/3 and so on."""
    scores = 1.0 / np.arange(1, len(boxes) + 1)
    write_tensors(path, [tf.constant(np.column_stack([boxes, scores]), tf.float32)])
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, list[Path]]:
    """Pictures with coloured squares, and the squares stored as proposals.  The class of a square is its number."""
    folder = tmp_path_factory.mktemp("squares")
    examples, proposals = [], []
    for number, squares in enumerate(SQUARES):
        pixels = np.full((72, 100, 3), GROUND, np.uint8)
        for y0, x0, y1, x1 in squares:
            pixels[y0:y1, x0:x1] = SQUARE
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        boxes, count = np.array(squares, np.float32), len(squares)
        classes, difficult = np.arange(1, count + 1, dtype=np.int32), np.zeros(count, bool)
        examples.append(Example(str(number), str(path), 72, 100, boxes, classes, difficult))
        proposals.append(write_proposals(folder / f"{number}.tfrecord", boxes))
    return Dataset("squares", ("first", "second", "third"), tuple(examples), {}), proposals


def take(dataset: Dataset, count: int, augment: Preset | None, **options) -> list[Batch]:
    """The first batches of one picture, as numpy arrays."""
    arguments = {"seed": 4, **options}
    batches = training_batches(dataset, CONFIG, 1, augment=augment, **arguments).take(count)
    return list(batches.as_numpy_iterator())


def covered(boxes: np.ndarray, size: np.ndarray, by: float) -> np.ndarray:
    """The pixels (h, w) bool whose centres lie in one of the boxes, each enlarged by `by` pixels on all sides."""
    y, x = (np.arange(side) + 0.5 for side in size)
    inside = np.zeros(tuple(size), bool)
    for y0, x0, y1, x1 in boxes:
        rows, columns = (y > y0 - by) & (y < y1 + by), (x > x0 - by) & (x < x1 + by)
        inside |= rows[:, None] & columns
    return inside


def square_pixels(picture: np.ndarray, boxes: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The pixels (h, w) bool that are nearer to the colour of the largest box's middle than to the ground's.

    `outside` (h, w) bool are pixels outside all squares.  They are ground, or the grey of the canvas.
    """
    largest = max(boxes, key=lambda box: np.prod(box[2:] - box[:2]))
    y, x = ((largest[:2] + largest[2:]) / 2).astype(int)
    to_square = np.abs(picture - picture[y, x]).sum(axis=-1)
    if not outside.any():
        return to_square < 100
    ground = picture[np.unravel_index(np.argmax(np.where(outside, to_square, -1)), outside.shape)]
    return to_square < np.abs(picture - ground).sum(axis=-1)


@pytest.mark.parametrize("name", ["light", "strong"])
def test_coloured_squares_stay_under_their_boxes_through_random_chains(
    drawn: tuple[Dataset, list[Path]], name: str, denormalise
) -> None:
    """Decoding, window, resizing, colours, blur and flip.  The proposals are the squares, also those that are lost."""
    dataset, paths = drawn
    lost = changed = 0
    for batch in take(dataset, CHAINS, PRESETS[name], proposal_paths=paths):
        size, boxes = batch.image_sizes[0], batch.ground_truth.boxes[0]
        assert (batch.images.shape[1:3] == size).all()
        assert batch.ground_truth.valid.all() and len(boxes) >= 1
        assert (boxes >= 0).all() and (boxes <= np.tile(size, 2)).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        seen = batch.proposals.boxes[0]
        assert (seen >= 0).all() and (seen <= np.tile(size, 2)).all() and (seen[:, 2:] > seen[:, :2]).all()
        picture = denormalise(batch.images[0])
        found = square_pixels(picture, boxes, outside := ~covered(seen, size, by=1))
        # The blur rounds the corners of a square, so its inside begins half a pixel later.
        assert found[covered(boxes, size, by=-1.5)].all(), f"position {batch.seeds[0, 1]}"
        assert not found[outside].any(), f"position {batch.seeds[0, 1]}"
        # Objects have their own proposals; the others are lost objects.
        classes = np.round(1 / batch.proposals.scores[0]).astype(int)
        np.testing.assert_array_equal(seen[np.isin(classes, batch.ground_truth.classes[0])], boxes)
        lost += len(SQUARES[int(batch.image_ids[0])]) - len(boxes)
        changed += (batch.original_sizes[0] != (72, 100)).any()
    assert changed > 0.4 * CHAINS and (lost > 10 or name == "light")


def test_without_a_preset_the_pipeline_is_the_old_one(drawn: tuple[Dataset, list[Path]]) -> None:
    dataset, paths = drawn
    old = list(training_batches(dataset, CONFIG, 1, 4, paths).take(6).as_numpy_iterator())
    order = training_order(dataset, 4, 1).take(6).as_numpy_iterator()
    for a, b, (_, index, flip) in zip(take(dataset, 6, None, proposal_paths=paths), old, order, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)
        with Image.open(dataset.examples[index].image_path) as file:
            expected = images.prepare(tf.constant(np.asarray(file)), CONFIG.short_side, CONFIG.long_side).numpy()
        np.testing.assert_array_equal(a.images[0], expected[:, ::-1] if flip else expected)


def test_a_preset_that_changes_nothing_gives_the_same_boxes_and_pixels(drawn: tuple[Dataset, list[Path]]) -> None:
    dataset, paths = drawn
    pairs = zip(*(take(dataset, 8, each, proposal_paths=paths) for each in (STILL, PRESETS["none"])), strict=True)
    for still, plain in pairs:
        np.testing.assert_allclose(still.images, plain.images, atol=0.01)
        tf.nest.map_structure(np.testing.assert_array_equal, still._replace(images=0), plain._replace(images=0))


def test_colours_and_blur_do_not_move_boxes(drawn: tuple[Dataset, list[Path]]) -> None:
    dataset, paths = drawn
    strong = PRESETS["strong"]
    grey = strong._replace(brightness=0.0, contrast=(1, 1), saturation=(1, 1), hue=0.0, blur=0.0)
    for a, b in zip(*(take(dataset, 30, each, proposal_paths=paths) for each in (strong, grey)), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a._replace(images=0), b._replace(images=0))
        assert not np.array_equal(a.images, b.images)


# Seeds.


def test_the_same_seed_and_position_give_the_same_bits_also_after_a_resume(drawn: tuple[Dataset, list[Path]]) -> None:
    dataset, paths = drawn
    strong = PRESETS["strong"]
    whole = take(dataset, 12, strong, proposal_paths=paths)
    resumed = take(dataset, 7, strong, proposal_paths=paths, start=5)
    for a, b in zip(whole[5:], resumed, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def test_each_position_and_each_seed_gives_another_picture(drawn: tuple[Dataset, list[Path]]) -> None:
    dataset = drawn[0]._replace(examples=drawn[0].examples[:1])
    seen = {
        (batch.images.shape, batch.images.tobytes())
        for seed in (4, 5)
        for batch in take(dataset, 10, PRESETS["strong"], seed=seed)
    }
    assert len(seen) == 20


def test_eager_calls_and_the_graph_choose_the_same_window() -> None:
    boxes, size = tf.constant([[20.0, 30.0, 44.0, 60.0]]), tf.constant([72, 100])
    choose = tf.function(augmentation.choose_window)
    for position in range(20):
        key = tf.constant([3, position])
        windows = [
            function(size, boxes, key, PRESETS["strong"]).numpy() for function in (choose, choose.python_function)
        ]
        np.testing.assert_array_equal(*windows)


# Windows.


@pytest.mark.parametrize("name", ["light", "strong"])
def test_windows_have_the_shares_and_sizes_of_the_preset(name: str) -> None:
    preset, size = PRESETS[name], np.array([720, 1000])
    boxes = tf.constant([[300.0, 400.0, 420.0, 600.0]])
    keys = tf.constant([[7, position] for position in range(400)])
    choose = tf.function(lambda key: augmentation.choose_window(tf.constant(size, tf.int32), boxes, key, preset))
    windows = np.array([choose(key) for key in keys])
    sides = windows[:, 2:] - windows[:, :2]
    inside = (windows[:, :2] >= 0).all(axis=1) & (windows[:, 2:] <= size).all(axis=1)
    smaller, larger = inside & (sides < size).any(axis=1), ~inside
    assert abs(smaller.mean() - preset.crop) < 0.08 and abs(larger.mean() - preset.zoom_out) < 0.08
    areas, aspects = sides.prod(axis=1) / size.prod(), sides[:, 1] / sides[:, 0] / (1000 / 720)
    assert areas[smaller].min() > preset.area[0] - 0.01
    assert areas[smaller].min() < preset.area[0] + 0.1 * np.ptp(preset.area)
    assert preset.aspect[0] - 0.01 < aspects[smaller].min() and aspects[smaller].max() < preset.aspect[1] + 0.01
    factors = sides[larger] / size
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], atol=0.01)
    assert preset.canvas[1] - 0.1 < factors.max() <= preset.canvas[1]
    # A canvas holds the whole picture; the picture is not always in the same corner.
    assert (windows[larger, :2] <= 0).all() and (windows[larger, 2:] >= size).all()
    spare = sides[larger] - size
    places = -windows[larger, :2] / np.maximum(spare, 1)  # from 0, at the top left, to 1
    assert places.min() < 0.1 and places.max() > 0.9 and places.std() > 0.2
    visible = [float(augmentation.visible_share(boxes, window)[0]) for window in windows[smaller]]
    assert min(visible) >= preset.covered - 0.01


def test_objects_that_no_crop_can_hold_leave_the_picture_whole() -> None:
    """An object over the whole picture, and crops of at most a quarter of it: none has more than 0.25 of the object."""
    preset = STILL._replace(crop=1.0, area=(0.1, 0.25), covered=0.0, aspect=(0.9, 1.1))
    for position in range(20):
        key = tf.constant([1, position])
        window = augmentation.choose_window(tf.constant([72, 100]), tf.constant([[0.0, 0, 72, 100]]), key, preset)
        assert window.numpy().tolist() == [0, 0, 72, 100]


def test_pictures_without_objects_are_cropped_too() -> None:
    preset = STILL._replace(crop=1.0, area=(0.4, 0.6), covered=0.3, aspect=(0.9, 1.1))
    for position in range(20):
        window = augmentation.choose_window(
            tf.constant([720, 1000]), tf.zeros([0, 4]), tf.constant([1, position]), preset
        )
        assert 0.4 < np.prod(window[2:] - window[:2]) / 720_000 < 0.61


def test_the_pixels_of_a_window_and_its_canvas() -> None:
    image = tf.constant(np.arange(4 * 5 * 3).reshape(4, 5, 3), tf.uint8)
    np.testing.assert_array_equal(augmentation.cut(image, tf.constant([1, 2, 3, 5])), image[1:3, 2:5])
    around = augmentation.cut(image, tf.constant([-1, -2, 6, 8])).numpy()
    assert around.shape == (7, 10, 3) and around.dtype == np.uint8
    np.testing.assert_array_equal(around[1:5, 2:7], image)
    around[1:5, 2:7] = augmentation.CANVAS
    assert (around == augmentation.CANVAS).all()


# Boxes, by hand: a window of rows 10 to 30 and columns 20 to 60.

WINDOW = [10, 20, 30, 60]


def test_boxes_are_moved_and_clipped_and_lost_objects_leave_the_ground_truth() -> None:
    boxes = [[12, 25, 22, 45], [0, 20, 20, 30], [0, 20, 12.9, 30], [0, 0, 40, 80], [0, 0, 10, 20], [0, 20, 13.1, 30]]
    objects = GroundTruth(tf.constant(boxes, tf.float32), tf.range(1, 7), tf.ones(6, tf.bool))
    moved = augmentation.move_objects(objects, tf.constant(WINDOW))
    # Visible: 1, 0.5, 2.9 / 12.9 = 0.22, 800 / 3200 = 0.25, 0, 3.1 / 13.1 = 0.24.
    assert moved.classes.numpy().tolist() == [1, 2] and moved.valid.numpy().tolist() == [True, True]
    assert moved.boxes.numpy().tolist() == [[2, 5, 12, 25], [0, 0, 10, 10]]
    np.testing.assert_allclose(
        augmentation.visible_share(objects.boxes, tf.constant(WINDOW)), [1, 0.5, 2.9 / 12.9, 0.25, 0, 3.1 / 13.1], 1e-5
    )


def test_proposals_outside_the_window_are_dropped_and_others_are_clipped() -> None:
    boxes = [[12, 25, 22, 45], [0, 0, 40, 80], [0, 0, 10, 20], [0, 0, 10.9, 80], [0, 0, 11, 80], [29.5, 30, 40, 50]]
    scores = tf.constant([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    proposals = Proposals(tf.constant(boxes, tf.float32), scores, tf.ones(6, tf.bool))
    moved = augmentation.move_proposals(proposals, tf.constant(WINDOW))
    assert moved.boxes.numpy().tolist() == [[2, 5, 12, 25], [0, 0, 20, 40], [0, 0, 1, 40]]
    np.testing.assert_allclose(moved.scores, [0.9, 0.8, 0.5])
    assert moved.valid.numpy().all()


def test_no_objects_and_no_proposals_stay_none() -> None:
    window = tf.constant(WINDOW)
    objects = GroundTruth(tf.zeros([0, 4]), tf.zeros([0], tf.int32), tf.zeros([0], tf.bool))
    assert augmentation.move_objects(objects, window).boxes.shape == (0, 4)
    assert (
        augmentation.move_proposals(Proposals(tf.zeros([0, 4]), tf.zeros([0]), objects.valid), window).scores.shape == 0
    )


# Colours.


def test_colours_change_as_the_preset_says() -> None:
    image = tf.constant(np.random.default_rng(0).uniform(60, 190, (20, 30, 3)), tf.float32)
    means = []
    for position in range(60):
        key = tf.constant([2, position])
        brighter = augmentation.recolour(image, key, STILL._replace(brightness=20.0)) - image
        assert np.ptp(brighter) < 0.01  # the same for all pixels
        means.append(float(tf.reduce_mean(brighter)))
    assert -20 <= min(means) < -15 and 15 < max(means) <= 20
    less = augmentation.recolour(image, key, STILL._replace(contrast=(0.5, 0.5))).numpy()
    mean = image.numpy().mean(axis=(0, 1))
    np.testing.assert_allclose(less - mean, 0.5 * (image - mean), atol=0.01)
    grey = augmentation.recolour(image, key, STILL._replace(saturation=(0, 0))).numpy()
    np.testing.assert_allclose(np.ptp(grey, axis=-1), 0, atol=0.01)


def test_the_blur_is_gaussian_and_keeps_flat_borders() -> None:
    blurred = STILL._replace(blur=1.0, sigma=(1.5, 1.5))
    flat = tf.fill([12, 14, 3], 200.0)
    np.testing.assert_allclose(augmentation.recolour(flat, tf.constant([0, 0]), blurred), flat, rtol=1e-4)
    point = np.zeros((21, 21, 3), np.float32)
    point[10, 10] = 250.0
    found = augmentation.recolour(tf.constant(point), tf.constant([0, 0]), blurred).numpy()
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(found[6:15, 6:15, 0], 250 * np.outer(weights, weights), atol=0.01)


# What goes with it.


def test_stored_features_and_augmentation_exclude_each_other(drawn: tuple[Dataset, list[Path]]) -> None:
    files = FeatureFiles(np.full((len(SQUARES), 2), ""), "float32")
    with pytest.raises(ValueError, match="features of unchanged pictures"):
        training_batches(drawn[0], CONFIG, 1, 0, feature_files=files, augment=PRESETS["light"])


def test_the_page_states_the_ranges_of_the_presets() -> None:
    text = (Path(__file__).parents[3] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` (\|.*\|)$", text, re.MULTILINE))

    def shown(value: float | tuple[float, float]) -> str:
        return f"{value:g}" if isinstance(value, float) else f"{value[0]:g} to {value[1]:g}"

    for field in Preset._fields:
        values = [shown(getattr(PRESETS[name], field)) for name in ("light", "strong")]
        assert rows[field].startswith(f"| {values[0]} | {values[1]} |"), field
