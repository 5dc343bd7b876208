"""Record files: which belong to a split, what a record holds, label maps, and the extraction of the pictures."""

import gzip
import io
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.records import tfrecord
from keras_frcnn.data.sources.records.label_map import format_label_map, read_label_map
from keras_frcnn.data.sources.records.record_files import record_files
from keras_frcnn.data.sources.spec import DataSpec, Request
from keras_frcnn.facts.errors import InputError

TEXT, LABEL = "image/object/class/text", "image/object/class/label"
SIDES = ("ymin", "xmin", "ymax", "xmax")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keras_frcnn" / "records"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def encoded_picture(shade=0, kind="PNG"):
    """A picture of 40 x 60 pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (shade,) * 3).save(stream, kind)
    return stream.getvalue()


def record(image_id="a", boxes=((0.25, 0.5, 0.75, 1.0),), shade=0, **more):
    """The serialised record of a picture whose objects are cats; `more` replaces fields, None removes one."""
    fields = {
        "image/encoded": [encoded_picture(shade)],
        "image/source_id": [image_id.encode()],
        TEXT: [b"cat"] * len(boxes),
        LABEL: [1] * len(boxes),
    } | {f"image/object/bbox/{side}": [float(box[at]) for box in boxes] for at, side in enumerate(SIDES)}
    fields |= {name.replace("__", "/"): values for name, values in more.items()}
    features = {name: feature(name, values) for name, values in fields.items() if values is not None}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def feature(name, values):
    if name == TEXT or values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if "bbox" in name or "area" in name:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write(file, *records):
    with tf.io.TFRecordWriter(str(file)) as writer:
        for one in records:
            writer.write(one)


def read(folder, split="train", argument=None):
    return load_dataset(DataSpec(data=f"tfrecord:{argument or folder}"), split)


# What a record holds.


def test_all_fields_of_a_record(folder):
    boxes = ((0.25, 0.5, 0.75, 1.0), (0.0, 0.0, 0.5, 0.1))
    more = {"image/object/difficult": [1, 0], "image/object/is_crowd": [0, 1], "image/object/area": [10.5, 20.0]}
    write(folder / "train.tfrecord", record(boxes=boxes, **more, image__height=[40], image__width=[60]))
    (example,) = read(folder).examples
    assert example.boxes.tolist() == [[10, 30, 30, 60], [0, 0, 20, 6]]  # 0.1 in float32 is not 0.1
    assert example.difficult.tolist() == [True, True] and example.crowd.tolist() == [False, True]
    assert example.areas.tolist() == [10.5, 20.0]
    assert (example.image_id, example.height, example.width) == ("a", 40, 60)
    assert Path(example.image_path).read_bytes() == encoded_picture()


def test_fields_that_may_be_left_out(folder):
    write(
        folder / "train.tfrecord",
        record(**{LABEL: None, "image/source_id": None, "image/filename": [b"b.jpg"]}),
        record("c", boxes=()),
        record(**{"image/source_id": None}),
    )
    dataset = read(folder)
    assert [example.image_id for example in dataset.examples] == ["b.jpg", "c", "train.tfrecord, record 3"]
    assert [len(example.boxes) for example in dataset.examples] == [1, 0, 1]
    assert dataset.class_names == ("cat",)
    assert all(example.crowd is None and example.areas is None for example in dataset.examples)


def test_image_ids_stay_below_their_folder(folder):
    write(folder / "train.tfrecord", record("/../x/./y.jpg"))
    assert read(folder).examples[0].image_id == "x/y.jpg"


def test_names_come_from_the_label_map_if_the_records_have_only_numbers(folder):
    write(folder / "train.tfrecord", record(**{TEXT: None, LABEL: [7]}))
    with pytest.raises(InputError, match=r"train.tfrecord, record 1: class 7 has no name: .*; put a label map"):
        read(folder)
    (folder / "map.pbtxt").write_text("item { name: 'dog' id: 7 } item { id: 2, name: \"cat\" }")
    dataset = read(folder)
    assert dataset.class_names == ("cat", "dog") and dataset.examples[0].classes.tolist() == [2]
    (folder / "map.pbtxt").write_text("item { name: 'dog' id: 6 }")
    with pytest.raises(InputError, match=r"record 1, object 1: class 7 is not in the label map"):
        read(folder)
    (folder / "other.pbtxt").touch()
    with pytest.raises(InputError, match=r"2 label maps: map.pbtxt, other.pbtxt"):
        read(folder)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({TEXT: None, LABEL: None}, r"record 2, image/object/class: boxes without classes are not labels"),
        ({TEXT: [b"a", b"b"]}, r"record 2, text: 2 values for 1 boxes"),
        ({"image/object/difficult": [1, 0]}, r"record 2, difficult: 2 values for 1 boxes"),
        ({"image/object/bbox/xmin": [0.1, 0.2]}, r"record 2: not a picture with boxes"),
        ({"image/encoded": None}, r"record 2: not a picture with boxes .*image/encoded"),
        ({"image/encoded": [b"GIF89a"]}, r"record 2: the encoded picture is neither JPEG nor PNG"),
        ({TEXT: [b"\xff"]}, r"record 2, object 1: b'.*' is not UTF-8"),
        ({"image/source_id": [b"first"]}, r"record 2: image id 'first' is already that of .*record 1"),
    ],
)
def test_faults_name_the_file_and_the_record(folder, cache, more, message):
    write(folder / "train.tfrecord", record("first"), record("second", **more))
    with pytest.raises(InputError, match=rf"train.tfrecord, {message}"):
        read(folder)
    assert not list(cache.glob(".*")), "no half of an extraction is left"


def test_damaged_files(folder):
    write(folder / "train.tfrecord", record("a"), record("b"))
    whole = (folder / "train.tfrecord").read_bytes()
    (folder / "train.tfrecord").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"train.tfrecord, record 2: damaged or not a record file"):
        read(folder)
    (folder / "train.tfrecord").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"train.tfrecord, record 1: damaged or not a record file"):
        read(folder)
    (folder / "train.tfrecord").write_bytes(gzip.compress(whole))
    assert [example.image_id for example in read(folder).examples] == ["a", "b"]


# The files of a split.


def names_of(folder, argument):
    found = record_files(Request("tfrecord", str(argument), ""))
    return {split: [file.relative_to(folder).as_posix() for file in files] for split, files in found.items()}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_names_of_files_give_the_splits(folder):
    train = ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    coco = ["coco_val.record-00000-of-00001"]
    touch(folder, *train, *coco, "pascal.record", "map.pbtxt", "notes.txt", "record.txt")
    assert names_of(folder, folder) == {"train": train, "coco_val": coco, "pascal": ["pascal.record"]}
    assert names_of(folder, folder / "t*") == {"train": train}
    assert names_of(folder, folder / "pascal.record") == {"pascal": ["pascal.record"]}


def test_subfolders_and_placeholders_give_the_splits(folder):
    touch(folder, "train/Cells.tfrecord", "valid/Cells.tfrecord")
    assert names_of(folder, folder) == {"train": ["train/Cells.tfrecord"], "valid": ["valid/Cells.tfrecord"]}
    assert names_of(folder, folder / "{split}/*.tfrecord") == names_of(folder, folder)
    touch(folder, "x_train.0.rec", "x_train.1.rec", "x_val.0.rec")
    wanted = {"train": ["x_train.0.rec", "x_train.1.rec"], "val": ["x_val.0.rec"]}
    assert names_of(folder, folder / "x_{split}.?.rec") == wanted


def test_missing_shards_and_files(folder):
    touch(folder, "train-00000-of-00004.tfrecord", "train-00002-of-00004.tfrecord")
    with pytest.raises(
        InputError, match=r"train-\*-of-00004.tfrecord: 2 of 4 shards are missing, the first is number 1"
    ):
        names_of(folder, folder)
    with pytest.raises(InputError, match="no record file matches"):
        names_of(folder, folder / "val*")
    with pytest.raises(InputError, match="the path is missing"):
        record_files(Request("tfrecord", None, ""))


def test_splits_are_joined_and_listed(folder):
    write(folder / "train.tfrecord", record("a"))
    write(folder / "val.tfrecord", record("b", shade=9))
    assert dataset_splits(DataSpec(data=f"tfrecord:{folder}")) == ("train", "val")
    for split, ids in {"val": ["b"], "val+train": ["val/b", "train/a"], "all": ["train/a", "val/b"]}.items():
        assert [example.image_id for example in read(folder, split).examples] == ids
    with pytest.raises(InputError, match=r"split 'test': the data has no such split; use one of: train, val"):
        read(folder, "test")


# The extraction.


def test_pictures_are_extracted_once_and_again_when_the_records_change(folder, cache, capsys, monkeypatch):
    write(folder / "train.tfrecord", record("a"), record("b", shade=9))
    first = read(folder)
    line = f"extracted 2 pictures (0.0 MB) of --data tfrecord:{folder}, train.tfrecord to {cache}"
    assert line in capsys.readouterr().err
    times = [Path(example.image_path).stat().st_mtime_ns for example in first.examples]
    with monkeypatch.context() as patch:
        patch.setattr(tfrecord, "_read_files", lambda files: pytest.fail("the records are read again"))
        again = read(folder)
    assert capsys.readouterr().err == ""
    assert [example.image_path for example in again.examples] == [example.image_path for example in first.examples]
    assert [Path(example.image_path).stat().st_mtime_ns for example in again.examples] == times
    write(folder / "train.tfrecord", record("a", boxes=()), record("b", shade=99))
    changed = read(folder)
    assert changed.examples[0].image_path != first.examples[0].image_path
    assert [len(example.boxes) for example in changed.examples] == [0, 1]
    assert Path(changed.examples[1].image_path).read_bytes() == encoded_picture(99)


def test_a_cache_folder_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write(folder / "train.tfrecord", record("a"))
    with pytest.raises(InputError, match=r"cannot be written .*; free some space, or set XDG_CACHE_HOME"):
        read(folder)


# Label maps.


def test_a_label_map_with_all_that_they_hold(tmp_path):
    text = """# classes
    item: { id: 3  name: '/m/01g317'  display_name: "Person { id: 9 }" keypoints { id: 8 label: "x" } }
    item {\n  name: "caf\\303\\251 \\"a\\"" # no id: 4\n  id: 1\n}
    item < id: 2, name: 'Käfer'; >
    """
    (tmp_path / "map.pbtxt").write_text(text)
    assert read_label_map(tmp_path / "map.pbtxt") == {1: 'café "a"', 2: "Käfer", 3: "/m/01g317"}
    assert list(read_label_map(tmp_path / "map.pbtxt")) == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "map.pbtxt: the label map has no items"),
        ("item { id: 1 name: 'a' ", "map.pbtxt: not a label map"),
        ("item { id: 1 name: 'a }", "map.pbtxt: not a label map"),
        ("item { name: 'a' }", r"item 1, id: expected a whole number \(got None\)"),
        ("item { id: x name: 'a' }", r"item 1, id: expected a whole number \(got 'x'\)"),
        ("item { id: 1 }", "item 1, name: missing name"),
        ("item { id: 1 name: '' }", "item 1, name: missing name"),
        ("item { id: 1 name: '\\377' }", "item 1, name: not a string in UTF-8"),
        ("item { id: 1 name: '\\ud800' }", "item 1, name: not a string in UTF-8"),
        ("item { id: 1 name: '\\U00110000' }", "item 1, name: not a string in UTF-8"),
        ("item { id: 1 name: '\\x' }", "item 1, name: not a string in UTF-8"),
        ("item { id: " + "9" * 5000 + " name: 'a' }", "item 1, id: expected a whole number"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "item 2: the id or the name occurs twice"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", "item 2: the id or the name occurs twice"),
    ],
)
def test_faulty_label_maps(tmp_path, text, message):
    (tmp_path / "map.pbtxt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_map(tmp_path / "map.pbtxt")


def test_a_pattern_that_is_none_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"train\*\*.tfrecord: is not a pattern"):
        load_dataset(DataSpec(data=f"tfrecord:{tmp_path}/train**.tfrecord"), "train")


def test_a_name_that_states_billions_of_shards(tmp_path):
    (tmp_path / "train-00000-of-99999999999.tfrecord").write_bytes(b"")
    with pytest.raises(InputError, match="99999999998 of 99999999999 shards are missing, the first is number 1"):
        load_dataset(DataSpec(data=f"tfrecord:{tmp_path}"), "train")


@pytest.mark.parametrize(
    ("written", "name"),
    [(r"\u732b", "猫"), (r"\U0001f431 x", "🐱 x"), (r"\\u732b", r"\u732b"), (r"\347\214\253", "猫"), (r"\x41", "A")],
)
def test_escapes_in_a_label_map(tmp_path, written, name):
    (tmp_path / "map.pbtxt").write_text(f'item {{ id: 1 name: "{written}" }}', encoding="utf-8")
    assert read_label_map(tmp_path / "map.pbtxt") == {1: name}


def test_a_written_label_map_is_read_back(tmp_path):
    names = ("cat", 'a "b"', "back\\slash", "tab\tnew\nline", "Käfer", "{ id: 1 }", "# no", "\u2028")
    (tmp_path / "map.pbtxt").write_text(format_label_map(names), encoding="utf-8")
    assert tuple(read_label_map(tmp_path / "map.pbtxt").values()) == names


def test_a_record_that_is_no_message_is_refused_before_tensorflow_parses_it(folder):
    """TensorFlow's parser ends the process for some such records."""
    write(folder / "train.tfrecord", record("a"), record("b")[:-3])
    with pytest.raises(InputError, match=r"record 2: not a picture with boxes .\[damaged tf.train.Example\].; write"):
        read(folder)


def test_bytes_in_a_message_of_tensorflow_are_one_line(folder):
    """A feature of another type, whose error repeats its name."""
    write(folder / "train.tfrecord", record("a", **{"image/encoded": [3]}))
    with pytest.raises(InputError, match=r"record 1: not a picture with boxes"):
        read(folder)
