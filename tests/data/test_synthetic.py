"""Drawn scenes: deterministic, exact boxes, every class, and a tree that reads back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources import scenes as scenes_module
from keras_frcnn.data import synthetic
from keras_frcnn.data.sources.scenes import CLASS_NAMES, DIFFICULT_BELOW
from keras_frcnn.data.sources.voc import load_voc
from keras_frcnn.facts.errors import InputError

SIZE = (120, 160)


@pytest.fixture(scope="module")
def scenes():
    return [synthetic.draw_picture(seed=3, split="train", index=index, size=SIZE) for index in range(120)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    directory = tmp_path_factory.mktemp("synthetic") / "tree"
    synthetic.write_synthetic(directory, {"train": 6, "test": 3}, seed=3, size=SIZE)
    return directory


def read_files(directory):
    """Relative path -> bytes of every file below a folder."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_same_request_writes_the_same_bytes(tree, tmp_path):
    synthetic.write_synthetic(tmp_path / "again", {"train": 6, "test": 3}, seed=3, size=SIZE)
    assert read_files(tmp_path / "again") == read_files(tree)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tree, tmp_path):
    synthetic.write_synthetic(tmp_path / "smaller", {"train": 2}, seed=3, size=SIZE)
    larger = read_files(tree)
    smaller = read_files(tmp_path / "smaller")
    image_set = smaller.pop("ImageSets/Main/train.txt")
    assert larger["ImageSets/Main/train.txt"].startswith(image_set)
    assert smaller and all(larger[path] == data for path, data in smaller.items())


def test_seed_split_and_index_each_give_another_picture():
    pictures = [
        synthetic.draw_picture(seed, split, index, SIZE).image
        for seed, split, index in ((0, "train", 0), (1, "train", 0), (0, "test", 0), (0, "train", 1))
    ]
    for first in range(4):
        for second in range(first):
            assert (pictures[first] != pictures[second]).any()


def test_boxes_are_exactly_those_of_the_masks(scenes):
    for scene in scenes:
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            y, x = np.nonzero(mask)
            assert box.tolist() == [x.min() + 1, y.min() + 1, x.max() + 1, y.max() + 1]


def test_the_box_of_a_known_rectangle_is_exact():
    # Continuous corners x 10..30, y 5..25 cover the pixels 10..29 and 5..24, which VOC counts from 1.
    contour = np.array([(10, 5), (30, 5), (30, 25), (10, 25)], np.float64)
    alpha, _ = scenes_module._rasterise(np.random.default_rng(0), [contour], 40, 50)
    assert scenes_module._mask_box(alpha >= scenes_module.COVERED) == (11, 6, 30, 25)
    assert (alpha[5:25, 10:30] == 1).all()


def test_masks_are_where_the_picture_was_painted():
    # Independent of the masks: the scene differs from its background, drawn without shapes, in the shapes alone.
    for index in range(4):
        scene = synthetic.draw_picture(5, "train", index, SIZE)
        assert len(scene.boxes) > 0
        background = _background_alone(5, index)
        changed = np.abs(scene.image.astype(int) - background).max(axis=-1) > 25
        painted = scene.masks.any(axis=0)
        near_painted = np.zeros_like(painted)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near_painted |= np.roll(painted, (dy, dx), axis=(0, 1))
        assert not (changed & ~near_painted).any()
        assert changed[painted].mean() > 0.8


def _background_alone(seed, index):
    """The background of a training picture, in 0..255."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_frcnn.data.sources.scenes._place_shapes", lambda rng, height, width: [])
        return synthetic.draw_picture(seed, "train", index, SIZE).image.astype(int)


def test_difficult_is_what_is_hardly_seen(scenes):
    for scene in scenes:
        for index, mask in enumerate(scene.masks):
            seen = mask & ~scene.masks[index + 1 :].any(axis=0)
            assert scene.difficult[index] == (seen.sum() < DIFFICULT_BELOW * mask.sum())
            assert seen.any()


def test_truncated_shapes_touch_the_edge(scenes):
    for scene in scenes:
        near_upper_left = (scene.boxes[:, :2] <= 2).any(axis=1)
        near_lower_right = (scene.boxes[:, 2:] >= (SIZE[1] - 1, SIZE[0] - 1)).any(axis=1)
        assert (near_upper_left | near_lower_right | ~scene.truncated).all()


def test_everything_occurs_and_sizes_are_as_said(scenes):
    classes = np.concatenate([scene.classes for scene in scenes])
    counts = [len(scene.boxes) for scene in scenes]
    boxes = np.concatenate([scene.boxes for scene in scenes])
    difficult = np.concatenate([scene.difficult for scene in scenes])
    truncated = np.concatenate([scene.truncated for scene in scenes])
    assert (np.bincount(classes, minlength=len(CLASS_NAMES)) > len(classes) / 12).all()
    assert set(counts) == set(range(7))
    assert 0.005 < difficult.mean() < 0.15 and 0.05 < truncated.mean() < 0.4
    sides = boxes[:, 2:] - boxes[:, :2] + 1  # of pictures half as high as the reference: 15 to 75 pixels, and the tilt
    assert (boxes >= 1).all() and (boxes[:, 2:] <= SIZE[::-1]).all()
    assert sides.min() >= 9 and sides.max() <= 90 and 30 <= np.median(sides) <= 45


def test_the_tree_reads_back_as_it_was_drawn(tree):
    dataset = load_voc(tree, "train+test", CLASS_NAMES, strict=True)
    assert dataset.problems == {}
    assert [picture.image_id for picture in dataset.examples][:2] == ["train_000000", "train_000001"]
    assert len(dataset.examples) == 9
    for index, picture in enumerate(dataset.examples[:6]):
        scene = synthetic.draw_picture(3, "train", index, SIZE)
        xmin, ymin, xmax, ymax = scene.boxes.T
        np.testing.assert_array_equal(picture.boxes, np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=-1))
        np.testing.assert_array_equal(picture.classes, scene.classes + 1)
        np.testing.assert_array_equal(picture.difficult, scene.difficult)
        with Image.open(picture.image_path) as stored:
            error = np.abs(np.asarray(stored, int) - scene.image)
        assert error.mean() < 4  # JPEG keeps the colours, in this order


def test_a_set_is_drawn_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = synthetic.load_synthetic("train", {"train": 2, "test": 1}, seed=1, size=SIZE)
    assert first.class_names == CLASS_NAMES and len(first.examples) == 2
    (directory,) = (tmp_path / "keras_frcnn").iterdir()
    assert Path(first.examples[0].image_path).is_relative_to(directory)
    monkeypatch.setattr(synthetic, "write_synthetic", lambda *_: pytest.fail("it was drawn again"))
    second = synthetic.load_synthetic("test", {"train": 2, "test": 1}, seed=1, size=SIZE)
    assert len(second.examples) == 1


def test_each_request_has_its_own_folder(tmp_path):
    one, two = {"train": 1}, {"train": 2}
    requests = [(one, 0, SIZE), (one, 1, SIZE), (two, 0, SIZE), (one, 0, (120, 161))]
    for counts, seed, size in requests:
        synthetic.load_synthetic("train", counts, seed, size, cache_directory=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(requests)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "_annotation_xml", fail)
    with pytest.raises(InputError, match="tree: cannot be written .No space left on device.; give a folder that can"):
        synthetic.write_synthetic(tmp_path / "tree", {"train": 1}, seed=0, size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=f"^{tmp_path}: exists and is not an empty folder; give a new folder"):
        synthetic.write_synthetic(tmp_path, {"train": 1}, seed=0, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_set_that_another_process_finished_first_is_read(tmp_path, monkeypatch):
    draw = synthetic._write_split

    def draw_while_another_finishes(tree, split, count, seed, size):
        monkeypatch.setattr(synthetic, "_write_split", draw)
        synthetic.load_synthetic(split, {split: count}, seed, size, cache_directory=tmp_path)
        draw(tree, split, count, seed, size)

    monkeypatch.setattr(synthetic, "_write_split", draw_while_another_finishes)
    dataset = synthetic.load_synthetic("train", {"train": 1}, 0, SIZE, cache_directory=tmp_path)
    assert len(dataset.examples) == 1 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("counts", "seed", "size", "message"),
    [
        ({}, 0, SIZE, "no picture is asked for; ask for at least one"),
        ({"train": -1}, 0, SIZE, "train: -1 pictures are asked for; ask for at least 1"),
        ({"../x": 1}, 0, SIZE, "is no name for a split; use letters"),
        ({"train": 1}, -1, SIZE, "seed: -1 is negative; give 0 or more"),
        ({"train": 1}, 0, (63, 200), "size: 63 x 200 is too small; give sides of at least 64"),
    ],
)
def test_a_request_out_of_range_is_refused(tmp_path, counts, seed, size, message):
    with pytest.raises(InputError, match=message):
        synthetic.write_synthetic(tmp_path / "tree", counts, seed, size)
    with pytest.raises(InputError, match=message):
        synthetic.load_synthetic("train", counts, seed, size, cache_directory=tmp_path)


def test_the_command_line_writes_a_tree(tmp_path, capsys):
    out = tmp_path / "tree"
    arguments = ["--out", str(out), "--train", "2", "--val", "0", "--test", "1", "--height", "120", "--width", "160"]
    synthetic.main(arguments)
    assert f"3 pictures in train, test; to be read as voc:{out}" in capsys.readouterr().out
    assert len(load_voc(out, "train+test", CLASS_NAMES).examples) == 3
    with pytest.raises(SystemExit) as caught:
        synthetic.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {out}: exists and is not an empty folder; give a new folder\n"


def test_help_answers_without_heavy_imports():
    command = [sys.executable, "-X", "importtime", "-m", "keras_frcnn.data.synthetic", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "--train" in done.stdout and "argparse" in imported
    assert not imported & {"cv2", "numpy", "PIL", "tensorflow"}
