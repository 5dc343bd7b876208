"""Checkpoints: when they are written, which one a training resumes from, and that no unread checkpoint is deleted."""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import tensorflow as tf

from keras_frcnn.facts.errors import InputError
from training.engine.checkpoints import Checkpoints


class Counter(NamedTuple):
    """What `Checkpoints` needs of a trainer: its state, here one iteration counter and one weight."""

    iteration: tf.Variable
    weight: tf.Variable
    checkpoint: tf.train.Checkpoint

    def train(self, iterations: int):
        self.iteration.assign_add(iterations)
        self.weight.assign(10.0 * tf.cast(self.iteration, tf.float32))


def new_counter() -> Counter:
    iteration, weight = tf.Variable(0, dtype=tf.int64, trainable=False), tf.Variable(0.0)
    return Counter(iteration, weight, tf.train.Checkpoint(iteration=iteration, weight=weight))


def opened(folder: Path, keep: int = 2) -> tuple[Counter, Checkpoints]:
    counter = new_counter()
    return counter, Checkpoints(counter, folder, 1, 1000.0, keep)


def restored(folder: Path) -> int:
    """Restore from `folder` as a new process does; the weight must fit the iteration."""
    counter, checkpoints = opened(folder)
    done = checkpoints.restore()
    assert int(counter.iteration) == done and float(counter.weight) == 10.0 * done
    return done


def saved(folder: Path, iterations: int = 3, keep: int = 2) -> list[str]:
    """Write checkpoints 1 .. `iterations`; returns the names of the files that are kept."""
    counter, checkpoints = opened(folder, keep)
    checkpoints.restore()
    for _ in range(iterations):
        counter.train(1)
        checkpoints.save()
    return names(folder)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The messages since the last call, one a line."""
    lines = "".join(f"{message}\n" for message in caplog.messages)
    caplog.clear()
    return lines


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def cut(path: Path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


TWO_KEPT = [
    "checkpoint",
    "ckpt-2.data-00000-of-00001",
    "ckpt-2.index",
    "ckpt-3.data-00000-of-00001",
    "ckpt-3.index",
]


def test_checkpoints_come_when_due_and_the_last_are_kept(tmp_path, monkeypatch):
    counter = new_counter()
    checkpoints = Checkpoints(counter, tmp_path, 3, 1000.0, keep=2)

    def kept():
        return sorted(path.stem for path in tmp_path.glob("*.index"))

    assert checkpoints.restore() == 0
    for expected in ([], [], ["ckpt-3"], ["ckpt-3"]):
        counter.train(1)
        checkpoints.save_if_due()
        assert kept() == expected
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1001.0)
    checkpoints.save_if_due()
    assert kept() == ["ckpt-3", "ckpt-4"]
    checkpoints.save()  # nothing is new
    counter.train(1)
    checkpoints.save()
    assert kept() == ["ckpt-4", "ckpt-5"]


def test_a_new_folder_starts_at_zero(tmp_path):
    assert restored(tmp_path / "new") == 0
    (tmp_path / "empty").mkdir()
    assert restored(tmp_path / "empty") == 0


def test_the_newest_checkpoint_is_restored_without_a_word(tmp_path, caplog):
    assert saved(tmp_path) == TWO_KEPT
    assert restored(tmp_path) == 3
    assert names(tmp_path) == TWO_KEPT and said(caplog) == ""


@pytest.mark.parametrize("index", [None, b"", b"\xff\x00garbage", b'model_checkpoint_path: "ckpt', b"{}\n"])
def test_without_its_index_file_the_newest_complete_checkpoint_is_restored(tmp_path, caplog, index):
    saved(tmp_path)
    if index is None:
        (tmp_path / "checkpoint").unlink()
    else:
        (tmp_path / "checkpoint").write_bytes(index)
    assert restored(tmp_path) == 3
    assert names(tmp_path) == TWO_KEPT
    expected = f"{tmp_path}/checkpoint is missing or damaged: resumed from the newest complete checkpoint, ckpt-3\n"
    assert said(caplog) == expected
    assert restored(tmp_path) == 3 and said(caplog) == ""  # the index file is complete again


def test_found_checkpoints_count_among_those_to_keep(tmp_path):
    saved(tmp_path)
    (tmp_path / "checkpoint").unlink()
    counter, checkpoints = opened(tmp_path)
    checkpoints.restore()
    for expected in (["ckpt-3", "ckpt-4"], ["ckpt-4", "ckpt-5"]):
        counter.train(1)
        checkpoints.save()
        assert sorted(path.stem for path in tmp_path.glob("*.index")) == expected
    assert len(names(tmp_path)) == 5 and restored(tmp_path) == 5


def test_a_complete_checkpoint_that_the_index_file_does_not_name_yet_is_restored(tmp_path):
    """A process was killed after it wrote the checkpoint, before it wrote the index file."""
    saved(tmp_path, 2)
    index = (tmp_path / "checkpoint").read_bytes()
    saved(tmp_path, 1)
    (tmp_path / "checkpoint").write_bytes(index)
    assert restored(tmp_path) == 3


def test_a_checkpoint_is_read_from_a_moved_run(tmp_path):
    saved(tmp_path / "before")
    shutil.move(tmp_path / "before", tmp_path / "after")
    assert restored(tmp_path / "after") == 3 and names(tmp_path / "after") == TWO_KEPT
    shutil.move(tmp_path / "after", tmp_path / "last")
    assert restored(tmp_path / "last") == 3 and names(tmp_path / "last") == TWO_KEPT


@pytest.mark.parametrize("damage", ["cut data", "changed data", "cut index", "no data", "no index"])
def test_a_damaged_checkpoint_is_left_in_place_and_the_one_before_is_restored(tmp_path, caplog, damage):
    saved(tmp_path)
    data, index = tmp_path / "ckpt-3.data-00000-of-00001", tmp_path / "ckpt-3.index"
    match damage:
        case "cut data":
            cut(data)
        case "changed data":
            data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
        case "cut index":
            cut(index)
        case "no data":
            data.unlink()
        case "no index":
            index.unlink()
    before = contents(tmp_path)
    assert restored(tmp_path) == 2
    after = contents(tmp_path)
    assert {**after, "checkpoint": b""} == {**before, "checkpoint": b""}
    assert f"{tmp_path}/ckpt-3 cannot be read and was left in place: resumed from ckpt-2\n" in said(caplog)


def test_a_checkpoint_whose_files_are_all_gone_is_reported(tmp_path, caplog):
    saved(tmp_path)
    for path in tmp_path.glob("ckpt-3*"):
        path.unlink()
    assert restored(tmp_path) == 2
    assert f"{tmp_path}/ckpt-3 is missing: resumed from ckpt-2\n" in said(caplog)


@pytest.mark.parametrize("damage", ["cut", "no data", "no index", "index file alone"])
def test_if_no_checkpoint_can_be_read_nothing_is_deleted(tmp_path, damage):
    saved(tmp_path)
    patterns = {"cut": "ckpt-*", "no data": "*.data*", "no index": "*.index", "index file alone": "ckpt-*"}
    for path in tmp_path.glob(patterns[damage]):
        if damage == "cut":
            cut(path)
        else:
            path.unlink()
    before = contents(tmp_path)
    message = f"^{tmp_path}: no checkpoint in it can be read.*; restore .* from a backup, or delete the folder to"
    with pytest.raises(InputError, match=message):
        restored(tmp_path)
    assert contents(tmp_path) == before


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    other = tf.train.Checkpoint(iteration=tf.Variable(7, dtype=tf.int64), weight=tf.Variable([1.0, 2.0]))
    other.write(str(tmp_path / "ckpt-7"))
    before = contents(tmp_path)
    with pytest.raises(InputError, match="no checkpoint in it can be read"):
        restored(tmp_path)
    assert contents(tmp_path) == before


def half_written(folder: Path, number: int, stage: str):
    """Leave what TensorFlow leaves if it is killed while it writes: parts, then data, then the index."""
    scratch = folder / f"ckpt-{number}_temp"
    scratch.mkdir(parents=True)
    (scratch / "part-00000-of-00001.index").write_bytes(b"half")
    if stage == "parts":
        (scratch / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    else:
        (folder / f"ckpt-{number}.data-00000-of-00001").write_bytes(b"whole")
    if stage == "index":
        (folder / f"ckpt-{number}.index").write_bytes(b"half")


@pytest.mark.parametrize("stage", ["parts", "data", "index"])
def test_a_half_written_checkpoint_is_removed_once_another_is_restored(tmp_path, caplog, stage):
    saved(tmp_path)
    half_written(tmp_path, 4, stage)
    assert restored(tmp_path) == 3
    assert names(tmp_path) == TWO_KEPT and said(caplog) == ""


@pytest.mark.parametrize("stage", ["parts", "data", "index"])
def test_a_half_written_first_checkpoint_is_removed_and_training_starts_at_zero(tmp_path, stage):
    half_written(tmp_path, 1, stage)
    assert restored(tmp_path) == 0
    assert names(tmp_path) == []


def test_a_checkpoint_completed_before_the_kill_is_used_though_its_parts_are_there(tmp_path):
    saved(tmp_path)
    (tmp_path / "ckpt-3_temp").mkdir()
    assert restored(tmp_path) == 3 and names(tmp_path) == TWO_KEPT


def test_what_is_left_of_older_checkpoints_is_removed_and_other_files_are_not(tmp_path):
    saved(tmp_path)
    (tmp_path / "ckpt-1.data-00000-of-00001").write_bytes(b"its index was deleted first, then the process was killed")
    (tmp_path / "ckpt-notes.txt").write_text("mine")
    assert restored(tmp_path) == 3
    assert names(tmp_path) == [*TWO_KEPT, "ckpt-notes.txt"]
