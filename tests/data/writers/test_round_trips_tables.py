"""CSV and record files written by the project are read back without loss, or the loss is counted."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.writers import csv_table, tfrecord
from keras_frcnn.data.writers.losses import RENAMED
from keras_frcnn.data.writers.writing import write_dataset
from keras_frcnn.facts.errors import InputError

SIZES = ((5, 7), (40, 60), (3, 4000), (500, 333))  # height, width
KINDS = ("csv", "tfrecord")

# Any text that a class can be called: commas, quotes, line breaks, other scripts, but not only spaces.
class_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(str.strip)
odd_names = st.sampled_from(
    ["a,b", 'say "hi"', "a\nb", "a\r\nb", " cat ", "#", "猫", "'", "\\", "\ufeffcat", "=1+1", "{ id: 1 }"]
)
safe_ids = st.from_regex(r"[A-Za-z0-9_äß猫][A-Za-z0-9_.äß猫-]{0,8}[A-Za-z0-9_]", fullmatch=True)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of the module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A picture file of each size; PNG and JPEG in turn."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = {}
    for number, (height, width) in enumerate(SIZES):
        paths[height, width] = folder / f"{number}.{('png', 'JPG')[number % 2]}"
        Image.new("RGB", (width, height), (number,) * 3).save(paths[height, width])
    return paths


@st.composite
def boxes_that_formats_hold(draw, height, width):
    """A box of more than one pixel whose corners are multiples of 1/1024 pixel."""
    corners = []
    for side in (height, width):
        low = draw(st.integers(0, (side - 2) * 1024))
        corners.append((low, draw(st.integers(low + 1025, side * 1024))))
    (y0, y1), (x0, x1) = corners
    return [y0 / 1024, x0 / 1024, y1 / 1024, x1 / 1024]


@st.composite
def any_boxes(draw, height, width):
    """Any box of float32 corners in the picture that has an area."""
    corners = []
    for side in (height, width):
        ends = st.floats(0, side, width=32)
        low, high = sorted((draw(ends), draw(ends)))
        corners.append((low, high) if low < high else (0.0, float(side)))
    (y0, y1), (x0, x1) = corners
    return [y0, x0, y1, x1]


@st.composite
def splits_of(draw, boxes, difficult, most=4):
    """Two splits with 1 to 4 pictures each, as a function of the picture files."""
    names = tuple(draw(st.lists(class_names | odd_names, min_size=1, max_size=5, unique=True)))
    ids = draw(st.lists(safe_ids, min_size=2, max_size=6, unique_by=str.casefold))
    rows = []
    for image_id in ids:
        size = draw(st.sampled_from(SIZES))
        found = draw(st.lists(boxes(*size), max_size=most))
        classes = [draw(st.integers(1, len(names))) for _ in found]
        rows.append((image_id, size, found, classes, [draw(difficult) for _ in found]))
    cut = draw(st.integers(1, len(ids) - 1))

    def make(files, folder):
        """The data sets.  Each picture is a link of its own: no picture may be in two splits."""
        examples = []
        for number, (image_id, size, found, classes, flags) in enumerate(rows):
            link = folder / f"{number}{files[size].suffix}"
            link.symlink_to(files[size])
            examples.append(
                Example(
                    image_id,
                    str(link),
                    *size,
                    np.array(found, np.float32).reshape(-1, 4),
                    np.array(classes, np.int32),
                    np.array(flags, bool),
                )
            )
        return {
            split: Dataset(split, names, tuple(part), {})
            for split, part in (("train", examples[:cut]), ("val", examples[cut:]))
        }

    return make


def round_trip(kind, datasets, folder):
    """(what is read back, {loss: times})."""
    losses = write_dataset(kind, datasets, folder / "out")
    spec = DataSpec(data=f"{kind}:{folder / 'out'}")
    assert dataset_splits(spec) == tuple(sorted(datasets))
    return {split: load_dataset(spec, split) for split in datasets}, {loss.what: loss.times for loss in losses}


def assert_equal(one, other):
    """The two examples are the same but for the place of the file."""
    for field in ("boxes", "classes", "difficult"):
        values = [getattr(each, field) for each in (one, other)]
        assert values[0].dtype == values[1].dtype and values[0].tobytes() == values[1].tobytes(), field
    assert one[:1] + one[2:4] + one[7:8] == other[:1] + other[2:4] + other[7:8]
    for field in ("crowd", "areas"):
        values = [getattr(each, field) for each in (one, other)]
        assert (values[0] is None) == (values[1] is None) and (values[0] is None or (values[0] == values[1]).all())
    assert Path(one.image_path).read_bytes() == Path(other.image_path).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_what_a_format_can_hold_comes_back(kind, pictures, data):
    flags = st.just(False) if kind == "csv" else st.booleans()
    with tempfile.TemporaryDirectory() as folder:
        datasets = data.draw(splits_of(boxes_that_formats_hold, flags))(pictures, Path(folder))
        read, losses = round_trip(kind, datasets, Path(folder))
        assert not losses
        for split, dataset in datasets.items():
            assert read[split].class_names == dataset.class_names and not read[split].problems
            for one, other in zip(dataset.examples, read[split].examples, strict=True):
                assert_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_box_that_a_format_changes_is_counted(kind, pictures, data):
    with tempfile.TemporaryDirectory() as folder:
        datasets = data.draw(splits_of(any_boxes, st.just(False), most=1))(pictures, Path(folder))
        read, losses = round_trip(kind, datasets, Path(folder))
    changed = dropped = 0
    for split, dataset in datasets.items():
        for one, other in zip(dataset.examples, read[split].examples, strict=True):
            if len(one.boxes) and not len(other.boxes):
                dropped += 1
            else:
                changed += one.boxes.tobytes() != other.boxes.tobytes()
                np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-3)
    module = {"csv": csv_table, "tfrecord": tfrecord}[kind]
    assert losses.pop(module.ROUNDED, 0) == changed
    assert losses.pop(module.THIN, 0) == dropped
    assert not losses


def one_picture(pictures, image_id="a", **fields):
    boxes = np.array([[1, 2, 30, 40], [3, 4, 5, 6], [0, 0, 40, 60]], np.float32)
    example = Example(image_id, str(pictures[40, 60]), 40, 60, boxes, np.int32([1, 2, 1]), np.zeros(3, bool))
    return {"train": Dataset("d", ("cat", "dog", "unused"), (example._replace(**fields),), {})}


FLAGS = {"difficult": np.array([True, False, True]), "crowd": np.array([False, False, True])}


def test_csv_counts_the_flags_and_areas_that_it_cannot_hold(pictures, tmp_path):
    areas = np.array([29 * 38, 3.0, 5.0])
    read, losses = round_trip("csv", one_picture(pictures, **FLAGS, areas=areas), tmp_path)
    assert losses == {csv_table.DIFFICULT: 1, csv_table.CROWD: 1, csv_table.AREAS: 1}
    (example,) = read["train"].examples
    assert example.boxes.tolist() == [[1, 2, 30, 40], [3, 4, 5, 6]] and not example.difficult.any()
    assert read["train"].class_names == ("cat", "dog", "unused")


def test_a_picture_whose_objects_csv_cannot_hold_stays_in_the_file(pictures, tmp_path):
    read, losses = round_trip("csv", one_picture(pictures, boxes=np.float32([[1, 1, 2, 2]] * 3)), tmp_path)
    assert losses == {csv_table.THIN: 3} and [len(one.boxes) for one in read["train"].examples] == [0]


def test_records_hold_flags_and_areas(pictures, tmp_path):
    datasets = one_picture(pictures, **FLAGS, areas=np.array([1102.0, 0.5, 9.0]))
    read, losses = round_trip("tfrecord", datasets, tmp_path)
    assert_equal(datasets["train"].examples[0], read["train"].examples[0])
    assert not losses
    datasets = one_picture(pictures, areas=np.array([0.1, 0.5, 9.0]))
    assert round_trip("tfrecord", datasets, tmp_path / "b")[1] == {tfrecord.AREAS: 1}


def test_ids_that_are_paths(pictures, tmp_path):
    datasets = one_picture(pictures, image_id="VOC2007/000001")
    read, losses = round_trip("tfrecord", datasets, tmp_path / "records")
    assert read["train"].examples[0].image_id == "VOC2007/000001" and not losses
    read, losses = round_trip("csv", datasets, tmp_path / "csv")
    assert read["train"].examples[0].image_id == "VOC2007_000001" and losses == {RENAMED: 1}


def test_records_are_sharded_by_number_and_size(pictures, tmp_path, monkeypatch):
    (example,) = one_picture(pictures)["train"].examples
    size = Path(example.image_path).stat().st_size
    examples = tuple(example._replace(image_id=f"{number}") for number in range(7))
    datasets = {"train": Dataset("d", ("cat", "dog"), examples, {})}
    monkeypatch.setattr(tfrecord, "_SHARD_PICTURES", 3)
    read, _ = round_trip("tfrecord", datasets, tmp_path)
    files = sorted(file.name for file in (tmp_path / "out").glob("*.tfrecord"))
    assert files == [f"train-{shard:05d}-of-00003.tfrecord" for shard in range(3)]
    assert [one.image_id for one in read["train"].examples] == list("0123456")
    monkeypatch.setattr(tfrecord, "_SHARD_BYTES", size * 2.5)
    write_dataset("tfrecord", datasets, tmp_path / "smaller")
    assert len(list((tmp_path / "smaller").glob("*.tfrecord"))) == 4


def test_a_full_disk_is_an_error_of_the_folder(pictures, tmp_path, monkeypatch):
    def full(path):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io, "TFRecordWriter", full)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left on device\); free some space"):
        write_dataset("tfrecord", one_picture(pictures), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_names_are_quoted_and_numbers_are_not(pictures, tmp_path):
    write_dataset("csv", one_picture(pictures), tmp_path / "out")
    lines = (tmp_path / "out" / "train" / "_annotations.csv").read_text().splitlines()
    assert lines[:2] == ["filename,width,height,class,xmin,ymin,xmax,ymax", '"a.jpg",60,40,"cat",3,2,40,30']
