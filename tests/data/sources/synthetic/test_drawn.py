"""Sets of drawn scenes: the same each time, written as a VOC tree that reads back, and drawn once."""

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.sources.synthetic import drawn
from keras_frcnn.data.sources.synthetic.scenes import CLASS_NAMES
from keras_frcnn.facts.errors import InputError

SIZE = (120, 160)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    directory = tmp_path_factory.mktemp("synthetic") / "tree"
    drawn.write_synthetic(directory, {"train": 6, "test": 3}, seed=3, size=SIZE)
    return directory


def read_files(directory):
    """Relative path -> bytes of every file below a folder."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_same_request_writes_the_same_bytes(tree, tmp_path):
    drawn.write_synthetic(tmp_path / "again", {"train": 6, "test": 3}, seed=3, size=SIZE)
    assert read_files(tmp_path / "again") == read_files(tree)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tree, tmp_path):
    drawn.write_synthetic(tmp_path / "smaller", {"train": 2}, seed=3, size=SIZE)
    larger = read_files(tree)
    smaller = read_files(tmp_path / "smaller")
    image_set = smaller.pop("ImageSets/Main/train.txt")
    assert larger["ImageSets/Main/train.txt"].startswith(image_set)
    assert smaller and all(larger[path] == data for path, data in smaller.items())


def test_seed_split_and_index_each_give_another_picture():
    pictures = [
        drawn.draw_picture(seed, split, index, SIZE).image
        for seed, split, index in ((0, "train", 0), (1, "train", 0), (0, "test", 0), (0, "train", 1))
    ]
    for first in range(4):
        for second in range(first):
            assert (pictures[first] != pictures[second]).any()


def test_the_tree_reads_back_as_it_was_drawn(tree):
    dataset = load_dataset(DataSpec(data=f"voc:{tree}", class_names=CLASS_NAMES, strict=True), "train+test")
    assert dataset.problems == {}
    assert [picture.image_id for picture in dataset.examples][:2] == ["train_000000", "train_000001"]
    assert len(dataset.examples) == 9
    for index, picture in enumerate(dataset.examples[:6]):
        scene = drawn.draw_picture(3, "train", index, SIZE)
        xmin, ymin, xmax, ymax = scene.boxes.T
        np.testing.assert_array_equal(picture.boxes, np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=-1))
        np.testing.assert_array_equal(picture.classes, scene.classes + 1)
        np.testing.assert_array_equal(picture.difficult, scene.difficult)
        with Image.open(picture.image_path) as stored:
            error = np.abs(np.asarray(stored, int) - scene.image)
        assert error.mean() < 4  # JPEG keeps the colours, in this order


def test_a_set_is_drawn_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = drawn.drawn_set({"train": 2, "test": 1}, seed=1, size=SIZE)
    assert [first] == list((tmp_path / "keras_frcnn").iterdir())
    assert len(list((first / "JPEGImages").iterdir())) == 3
    monkeypatch.setattr(drawn, "write_synthetic", lambda *_: pytest.fail("it was drawn again"))
    assert drawn.drawn_set({"train": 2, "test": 1}, seed=1, size=SIZE) == first


def test_each_request_has_its_own_folder(tmp_path):
    one, two = {"train": 1}, {"train": 2}
    requests = [(one, 0, SIZE), (one, 1, SIZE), (two, 0, SIZE), (one, 0, (120, 161))]
    for counts, seed, size in requests:
        drawn.drawn_set(counts, seed, size, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(requests)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawn, "_annotation_xml", fail)
    with pytest.raises(InputError, match="tree: cannot be written .No space left on device.; free some space"):
        drawn.write_synthetic(tmp_path / "tree", {"train": 1}, seed=0, size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=f"^{tmp_path}: already exists and is not an empty folder; use a new folder"):
        drawn.write_synthetic(tmp_path, {"train": 1}, seed=0, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_set_that_another_process_finished_first_is_read(tmp_path, monkeypatch):
    draw = drawn._write_split

    def draw_while_another_finishes(tree, split, count, seed, size):
        monkeypatch.setattr(drawn, "_write_split", draw)
        drawn.drawn_set({split: count}, seed, size, tmp_path)
        draw(tree, split, count, seed, size)

    monkeypatch.setattr(drawn, "_write_split", draw_while_another_finishes)
    directory = drawn.drawn_set({"train": 1}, 0, SIZE, tmp_path)
    assert len(list((directory / "JPEGImages").iterdir())) == 1 and list(tmp_path.iterdir()) == [directory]


@pytest.mark.parametrize(
    ("counts", "seed", "size", "message"),
    [
        ({}, 0, SIZE, "no pictures requested; request at least one"),
        ({"train": -1}, 0, SIZE, r"train: expected at least 1 picture \(got -1\); request 1 or more"),
        ({"../x": 1}, 0, SIZE, "is not a valid name of a split; use letters"),
        ({"train": 1}, -1, SIZE, r"seed: must not be negative \(got -1\); use 0 or more"),
        ({"train": 1}, 0, (63, 200), "size: 63 x 200 pixels is too small; use a height and width of at least 64"),
    ],
)
def test_a_request_out_of_range_is_rejected(tmp_path, counts, seed, size, message):
    with pytest.raises(InputError, match=message):
        drawn.write_synthetic(tmp_path / "tree", counts, seed, size)
    with pytest.raises(InputError, match=message):
        drawn.drawn_set(counts, seed, size, tmp_path)
