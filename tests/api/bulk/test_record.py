"""The record of a detection in many pictures: what is done stays done, and nothing else counts as done."""

import json

import pytest

from keras_frcnn.api.bulk.record import LINES, SETTINGS, Record, read_lines
from keras_frcnn.facts.errors import InputError

ASKED = {"score": 0.5, "formats": ["coco"]}


def line(image, **more):
    return {"image": image, "detections": [], **more}


@pytest.fixture
def begun(tmp_path):
    with Record(tmp_path / "out", ASKED, resume=False) as record:
        assert record.done == set()
        record.add(line("a.jpg"))
        record.add(line("broken.jpg", error="broken.jpg: not a readable picture"))
        record.add(line("käfer\udcff.jpg"))
    return tmp_path / "out"


def test_a_record_is_continued_without_its_errors(begun):
    with Record(begun, ASKED, resume=True) as record:
        assert record.done == {"a.jpg", "käfer\udcff.jpg"}
        record.add(line("broken.jpg"))
    assert [one["image"] for one in read_lines(begun / LINES)] == ["a.jpg", "käfer\udcff.jpg", "broken.jpg"]


def test_every_line_is_on_disk_before_the_next_picture(tmp_path):
    with Record(tmp_path, ASKED, resume=True) as record:
        record.add(line("a.jpg"))
        assert [one["image"] for one in read_lines(tmp_path / LINES)] == ["a.jpg"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_is_not_done(begun, cut):
    content = (begun / LINES).read_bytes()
    (begun / LINES).write_bytes(content[:-cut])
    with Record(begun, ASKED, resume=True) as record:
        assert record.done == {"a.jpg"}
        record.add(line("b.jpg"))
    assert [one["image"] for one in read_lines(begun / LINES)] == ["a.jpg", "b.jpg"]


def test_a_record_is_not_overwritten(begun):
    before = (begun / LINES).read_bytes()
    with pytest.raises(InputError, match=f"{LINES}: holds detections of an earlier run; continue it with --resume, or"):
        Record(begun, ASKED, resume=False)
    assert (begun / LINES).read_bytes() == before


@pytest.mark.parametrize("changes", [{"score": 0.4}, {"formats": []}, {"model": "other"}])
def test_other_settings_are_refused(begun, changes):
    (name,) = changes
    before = (begun / LINES).read_bytes()
    with pytest.raises(InputError, match=f"begun with another {name}; give the same to resume, or give another folder"):
        Record(begun, ASKED | changes, resume=True)
    assert (begun / LINES).read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_damaged_settings_are_an_error(begun, text):
    (begun / SETTINGS).write_text(text)
    with pytest.raises(InputError, match=f"{SETTINGS}: (cannot be read|these detections were begun with another)"):
        Record(begun, ASKED, resume=True)


BOX = {"class": "cat", "score": 0.5, "box": [1, 2, 3.5, 4]}
FAULTY = [{**BOX, "box": [1, 2, 3]}, {**BOX, "score": "0.5"}, {**BOX, "class": 1}, {"box": [1, 2, 3, 4]}, 7]


@pytest.mark.parametrize(
    "text",
    ["no JSON", "[1]", json.dumps({"image": "x.jpg"}), json.dumps(line(3)), "[" * 100_000, "\udcff"]
    + [json.dumps(line("x.jpg") | {"detections": [BOX, one]}) for one in FAULTY],
    ids=range(11),
)
def test_a_line_that_is_none_is_named_and_nothing_is_lost(begun, text):
    content = (begun / LINES).read_text()
    (begun / LINES).write_text(text + "\n" + content, errors="surrogateescape")
    with pytest.raises(InputError, match=f"{LINES}, line 1: is not the line of a picture"):
        Record(begun, ASKED, resume=True)
    assert (begun / LINES).read_text(errors="surrogateescape") == text + "\n" + content


@pytest.mark.parametrize("text", ["mine", "[]", '{"theme": "dark"}'])
def test_settings_of_something_else_are_not_replaced(tmp_path, text):
    (tmp_path / SETTINGS).write_text(text)
    with pytest.raises(InputError, match=f"{SETTINGS}: is not a file of this command, so it is not replaced"):
        Record(tmp_path, ASKED, resume=False)
    assert (tmp_path / SETTINGS).read_text() == text and not (tmp_path / LINES).exists()


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file: cannot be written"):
        Record(tmp_path / "file", ASKED, resume=False)
