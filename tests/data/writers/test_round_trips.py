"""Round trips: a data set, written in a format and read again, is the same but for what the writer counts."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.data.writers import coco, voc, yolo
from keras_frcnn.data.writers.losses import RENAMED
from keras_frcnn.data.writers.writing import write_dataset
from keras_frcnn.facts.errors import InputError

VOC = Path(__file__).resolve().parents[4] / "shared" / "data" / "voc"
SIZES = ((37, 53), (480, 640), (1, 3000))  # height, width
FORMATS = ("voc", "coco", "yolo")

# Characters that can stand in a name in all formats, and words that a format may read as something else.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"), exclude_characters="\ufeff")
WORDS = st.sampled_from(
    ["no", "~", "1", "null", "a: b", "- a", "<&>\"'", "a,b", "caf\u00e9", "cafe\u0301", "\u732b", "\U0001f408", "# x",
     "%", "x " * 300]
)  # fmt: skip
NAMES = st.one_of(WORDS, st.text(CHARACTERS, min_size=1, max_size=8)).map(str.strip).filter(bool)
IDS = st.one_of(
    st.integers(0, 9999).map(str),
    st.sampled_from(["000001", "a b", "a/b", "A", "a", "\u732b.x.y", ".a", "-a", "a" * 250, "a.jpg"]),
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five pictures of each size, HEIGHT-NUMBER.JPG."""
    folder = tmp_path_factory.mktemp("pictures")
    for height, width in SIZES:
        for number in range(5):
            Image.new("RGB", (width, height)).save(folder / f"{height}-{number}.JPG")
    return folder


def coordinate(length):
    """A place on a side: whole, in 1/1024 pixel, at a border, or any float32."""
    parts = st.integers(0, length * 1024).map(lambda value: value / 1024)
    return st.one_of(
        st.integers(0, length).map(float), parts, st.sampled_from([0.0, float(length)]), st.floats(0, length, width=32)
    )


@st.composite
def boxes(draw, height, width):
    """A box inside the picture, or None if the drawn corners enclose nothing."""
    (y0, y1), (x0, x1) = (sorted((draw(coordinate(side)), draw(coordinate(side)))) for side in (height, width))
    return np.float32([y0, x0, y1, x1]) if y0 < y1 and x0 < x1 else None


@st.composite
def examples(draw, number, image_id, class_count, folder):
    height, width = draw(st.sampled_from(SIZES))
    drawn = [box for box in draw(st.lists(boxes(height, width), max_size=4)) if box is not None]
    count = len(drawn)
    flags = draw(st.lists(st.sampled_from(["", "difficult", "crowd"]), min_size=count, max_size=count))
    crowd = np.array([flag == "crowd" for flag in flags], bool)
    areas = draw(st.none() | st.lists(st.floats(0, 1e6), min_size=count, max_size=count))
    return Example(
        image_id,
        str(folder / f"{height}-{number}.JPG"),
        height,
        width,
        np.array(drawn, np.float32).reshape(-1, 4),
        np.array(draw(st.lists(st.integers(1, class_count), min_size=count, max_size=count)), np.int32),
        np.array([flag != "" for flag in flags], bool),
        crowd=crowd if crowd.any() else None,
        areas=None if areas is None or not count else np.array(areas, np.float64),
    )


@st.composite
def splits(draw, folder):
    """Two splits of a data set with the same classes, the way that a source gives them."""
    names = tuple(draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)))
    ids = draw(st.lists(IDS, min_size=2, max_size=5, unique=True))
    whole = [draw(examples(number, image_id, len(names), folder)) for number, image_id in enumerate(ids)]
    cut = draw(st.integers(1, len(ids) - 1))
    parts = {"train": whole[:cut], "a val": whole[cut:]}
    return {split: Dataset(f"drawn {split}", names, tuple(part), {}) for split, part in parts.items()}


def objects(dataset):
    """Each picture's objects as tuples of label, box, difficult, crowd and area."""
    for one in dataset.examples:
        crowd = np.zeros(len(one.boxes), bool) if one.crowd is None else one.crowd
        exact = one.boxes.astype(np.float64)
        areas = np.prod(exact[:, 2:] - exact[:, :2], axis=1) if one.areas is None else one.areas
        labels = [dataset.class_names[c - 1] for c in one.classes]
        rows = zip(labels, one.boxes.tolist(), one.difficult.tolist(), crowd.tolist(), areas.tolist(), strict=True)
        yield [(label, tuple(box), *rest) for label, box, *rest in rows]


def area(box):
    y0, x0, y1, x1 = box
    return (y1 - y0) * (x1 - x0)


def held_by_coco(label, box, difficult, crowd, own):
    return {}, (label, box, difficult, crowd, own)


def held_by_voc(label, box, difficult, crowd, own):
    """What VOC holds of an object, and the losses that this is."""
    y0, x0, y1, x1 = box
    if x1 - x0 <= 1 or y1 - y0 <= 1:
        return {voc.THIN: 1}, None
    read = tuple(float(np.float32(value)) for value in ((y0 + 1) - 1, (x0 + 1) - 1, y1, x1))
    losses = {voc.ROUNDED: read != box, voc.CROWD: crowd, voc.AREAS: own != area(box)}
    return losses, (label, read, difficult, False, area(read))


def held_by_yolo(label, box, difficult, crowd, own):
    """What YOLO holds of an object, and the losses that this is."""
    rounded = tuple(round(value * 1024) / 1024 for value in box)
    if crowd:
        return {yolo.CROWD: 1}, None
    if rounded[0] == rounded[2] or rounded[1] == rounded[3]:
        return {yolo.THIN: 1}, None
    losses = {yolo.ROUNDED: rounded != box, yolo.DIFFICULT: difficult, yolo.AREAS: own != area(box)}
    return losses, (label, rounded, False, False, area(rounded))


HELD = {"coco": held_by_coco, "voc": held_by_voc, "yolo": held_by_yolo}
OF_OBJECTS = {
    voc.THIN,
    voc.ROUNDED,
    voc.CROWD,
    voc.AREAS,
    yolo.CROWD,
    yolo.THIN,
    yolo.ROUNDED,
    yolo.DIFFICULT,
    yolo.AREAS,
}


@pytest.mark.parametrize("kind", FORMATS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hostile_but_legal_annotations(pictures, tmp_path_factory, kind, data):
    datasets = data.draw(splits(pictures))
    out = tmp_path_factory.mktemp("written") / "out"
    losses = dict(write_dataset(kind, datasets, out, link=True))
    class_names = next(iter(datasets.values())).class_names
    spec = DataSpec(data=f"{kind}:{out}", class_names=class_names if kind == "voc" else None)
    counted, changed_ids = {}, 0
    for split, dataset in datasets.items():
        read = load_dataset(spec, split.replace(" ", "_"))
        assert read.problems == {} and read.class_names == class_names
        # A hard link is the same file: it tells which picture is which, whatever its name is now.
        places = {os.stat(one.image_path).st_ino: place for place, one in enumerate(read.examples)}
        found = list(objects(read))
        assert len(places) == len(dataset.examples)
        for before, rows in zip(dataset.examples, objects(dataset), strict=True):
            place = places[os.stat(before.image_path).st_ino]
            held = [HELD[kind](*row) for row in rows]
            assert found[place] == [kept for _, kept in held if kept is not None]
            changed_ids += read.examples[place].image_id != before.image_id
            for lost, _ in held:
                for what, times in lost.items():
                    counted[what] = counted.get(what, 0) + int(times)
    assert {what: times for what, times in losses.items() if what in OF_OBJECTS} == {
        what: times for what, times in counted.items() if times
    }
    assert changed_ids == losses.get(coco.NUMBERED if kind == "coco" else RENAMED, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_twenty_pictures_of_voc_are_the_same_in_each_format(tmp_path, kind):
    if not VOC.is_dir():
        pytest.skip("the VOC pictures are not there")
    whole = load_dataset(DataSpec(data=f"voc:{VOC}"), "VOC2007/minival")
    some = whole._replace(examples=whole.examples[:20])
    losses = dict(write_dataset(kind, {"val": some}, tmp_path / "out"))
    read = load_dataset(DataSpec(data=f"{kind}:{tmp_path / 'out'}", class_names=whole.class_names), "val")
    assert len(read.examples) == 20 and sum(len(one.boxes) for one in some.examples) > 40
    for before, after in zip(some.examples, read.examples, strict=True):
        assert before.boxes.tobytes() == after.boxes.tobytes() and after.boxes.dtype == np.float32
        assert before.classes.tolist() == after.classes.tolist()
        assert (before.height, before.width) == (after.height, after.width)
        assert Path(before.image_path).read_bytes() == Path(after.image_path).read_bytes()
        if kind != "yolo":
            assert before.difficult.tolist() == after.difficult.tolist()
    assert any(one.difficult.any() for one in some.examples)
    assert (yolo.DIFFICULT in losses) == (kind == "yolo")


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_the_drawn_set_goes_through_two_formats(voc_tree, tmp_path, first, second):
    start = {split: load_dataset(DataSpec(data=f"voc:{voc_tree}"), split) for split in ("train", "val")}
    write_dataset(first, start, tmp_path / "first")
    middle = {split: load_dataset(DataSpec(data=f"{first}:{tmp_path / 'first'}"), split) for split in start}
    write_dataset(second, middle, tmp_path / "second")
    for split, dataset in start.items():
        end = load_dataset(DataSpec(data=f"{second}:{tmp_path / 'second'}"), split)
        labels_and_boxes = [[[row[:2] for row in rows] for rows in objects(one)] for one in (dataset, end)]
        assert labels_and_boxes[0] == labels_and_boxes[1] and any(labels_and_boxes[0])


@pytest.mark.parametrize(
    ("kind", "name"), [("voc", "a\x01"), ("voc", "a\r\nb"), ("voc", " a"), ("voc", "a\ud800"), ("yolo", "\x85")]
)
def test_a_class_name_that_the_format_cannot_hold_is_refused(pictures, tmp_path, kind, name):
    box = np.float32([[0, 0, 10, 10]])
    one = Example("1", str(pictures / "37-0.JPG"), 37, 53, box, np.int32([1]), np.array([False]))
    with pytest.raises(InputError, match="class .* the name cannot be written as .*; rename it with --class-map"):
        write_dataset(kind, {"train": Dataset("d", (name,), (one,), {})}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
