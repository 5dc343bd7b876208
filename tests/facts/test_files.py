"""Atomic writes: a file or folder is never incomplete under its own name."""

import os
from pathlib import Path

import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import (
    name_that_fits,
    parse_json,
    read_json,
    read_text,
    refuse_folder,
    remove_halves,
    user_path,
    write_atomically,
    write_json,
)


def test_a_failed_write_leaves_no_incomplete_file(tmp_path):
    path = tmp_path / "new" / "result.json"

    def fail_half_way(temporary):
        temporary.write_text('{"half')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail_half_way)
    assert list(path.parent.iterdir()) == []

    write_json(path, {"whole": 1})
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail_half_way)
    assert list(path.parent.iterdir()) == [path] and read_json(path) == {"whole": 1}


def test_the_target_does_not_exist_while_it_is_written(tmp_path):
    path = tmp_path / "model.keras"

    def write(temporary):
        assert temporary != path and temporary.parent == path.parent and temporary.suffix == ".keras"
        temporary.write_text("new")
        assert not path.exists()

    write_atomically(path, write)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_an_existing_folder(tmp_path):
    path = tmp_path / "1"

    def write(temporary):
        (temporary / "variables").mkdir(parents=True)
        (temporary / "variables" / "data").write_text(content)

    def fail_half_way(temporary):
        write(temporary)
        raise KeyboardInterrupt

    for content in ("old", "new"):
        write_atomically(path, write)
        assert (path / "variables" / "data").read_text() == content
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail_half_way)
    assert (path / "variables" / "data").read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_stays_if_it_cannot_be_replaced(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    (path / "data").write_text("old")
    with pytest.raises(FileNotFoundError):
        write_atomically(path, lambda temporary: None)  # writes nothing
    assert (path / "data").read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_never_replaces_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "data").write_text("old")
    with pytest.raises(IsADirectoryError, match="results"):
        write_json(folder, {})
    monkeypatch.chdir(folder)
    with pytest.raises(IsADirectoryError):
        write_json(".", {})
    assert (folder / "data").read_text() == "old" and list(tmp_path.iterdir()) == [folder]
    with pytest.raises(InputError, match="results: is a folder; give a file"):
        refuse_folder(folder, "give a file")


def test_a_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data" and user_path("a/~b") == Path("a/~b")
    with pytest.raises(InputError, match="~nobody-of-this-name/x: has no home folder .*; write the whole path"):
        user_path("~nobody-of-this-name/x")


def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path):
    folder, link = tmp_path / "kept", tmp_path / "link"
    folder.mkdir()
    (folder / "data").write_text("old")
    link.symlink_to(folder)
    write_atomically(link, lambda temporary: temporary.mkdir())
    assert not link.is_symlink() and link.is_dir() and (folder / "data").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link"]


def test_remove_halves_removes_what_a_killed_process_left(tmp_path):
    (tmp_path / "run" / ".partial.17.1" / ".partial.18.inner").mkdir(parents=True)
    (tmp_path / "run" / ".partial.17.model.keras").write_text("half")
    (tmp_path / "run" / "model.keras").write_text("whole")
    remove_halves(tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.keras"]


def test_a_name_fits_with_a_suffix_and_stays_another_name():
    for name in ("a.jpg", "ü" * 100, "x" * 200):
        assert name_that_fits(name) == name
    long = ["x" * 201, "x" * 240, "x" * 239 + "y", "ü" * 101, "a\udcff" * 120]
    short = [name_that_fits(name) for name in long]
    assert len(set(short)) == len(long) and max(len(os.fsencode(name)) for name in short) == 200
    assert short[0].startswith("x" * 183 + "-") and short[3].startswith("ü" * 91 + "-")


def test_a_name_of_255_bytes_is_written(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    for value in (1, 2):  # the second one replaces the first
        write_json(path, value)
        assert read_json(path) == value and list(tmp_path.iterdir()) == [path]


def test_a_text_is_read_without_its_mark_and_only_from_a_regular_file(tmp_path):
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfk\xc3\xa4fer\n")
    assert read_text(tmp_path / "marked") == "käfer\n"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "latin").write_bytes(b"k\xe4fer")
    for name, error in (
        ("pipe", OSError),
        ("device", OSError),
        ("gone", OSError),
        (".", OSError),
        ("latin", ValueError),
    ):
        with pytest.raises(error):
            read_text(tmp_path / name)


def test_json_that_is_nested_endlessly_is_a_value_error():
    assert parse_json(b'{"a": 1, "a": [2]}', pairs=tuple) == (("a", 1), ("a", [2]))
    for text in ("[" * 100_000, '{"a":' * 100_000, "{"):
        with pytest.raises(ValueError):
            parse_json(text)
