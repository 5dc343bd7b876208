"""States of a trainer on disk, from which a stopped training resumes.

TensorFlow writes a checkpoint in three stages: parts in `ckpt-N_temp/`, then the parts become `ckpt-N.data-*`, then
`ckpt-N.index`.  It deletes `ckpt-N_temp/` last.  So a checkpoint that cannot be read was half written if
`ckpt-N_temp/` is still there, and was damaged later if it is not.
"""

import logging
import pathlib
import re
import shutil
import time
from typing import Protocol

import tensorflow as tf

from keras_frcnn.data.tensorflow_errors import writing
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_atomically
from training.engine.distribution import is_chief, wait_for_all

_log = logging.getLogger(__name__)
_FILE = re.compile(r"ckpt-(\d+)(_temp|\.index|\.data-\d{5}-of-\d{5})")
_NAMED_NEWEST = re.compile(r'^model_checkpoint_path: "(?:[^"]*/)?ckpt-(\d+)"$', re.MULTILINE)
# What TensorFlow raises for damaged files, for other shapes (ValueError) and for other variables (AssertionError).
_UNREADABLE = (tf.errors.OpError, RuntimeError, IndexError, ValueError, AssertionError)


class HasState(Protocol):
    """What is saved, such as a trainer."""

    checkpoint: tf.train.Checkpoint
    iteration: tf.Variable  # iterations done, () int64


class Checkpoints:
    """The last few states of a trainer, in `folder`: one every `iterations` iterations or `seconds` seconds.

    Only the chief worker writes.  The number of a checkpoint is the number of iterations done.
    """

    def __init__(self, trainer: HasState, folder: str | pathlib.Path, iterations: int, seconds: float, keep: int):
        self._trainer, self._folder, self._keep = trainer, pathlib.Path(folder), keep
        self.iterations, self._seconds = iterations, seconds
        self._writes = is_chief()
        # `restore` creates it, after it has found the checkpoints.  It stays None in workers that do not write.
        self._manager: tf.train.CheckpointManager | None = None
        # TensorFlow would create this variable at the first save.  Creating a variable waits for all workers, but only
        # the chief saves: create it here.
        _ = trainer.checkpoint.save_counter

    def restore(self) -> int:
        """Restore the newest checkpoint that can be read, if there is one; call it once, before `save`.

        Deletes half-written checkpoints and what is left of older ones.  Never deletes a damaged newer one.

        Returns:
          The number of iterations done; 0 if there is no checkpoint.

        Raises:
          InputError: there are checkpoints, but none can be read.
        """
        files = _CheckpointFiles(self._folder)
        restored, reason = self._restore_newest(files)
        left = files.left_in_place(restored)
        if restored == 0 and left:
            raise InputError(
                self._folder,
                f"no checkpoint in it can be read ({reason or 'files are missing'})",
                f"restore {left[-1]} from a backup, or delete the folder to restart this step",
            )
        wait_for_all()  # all workers must have read before the chief deletes
        if self._writes:
            for line in files.describe_faults(restored):
                _log.warning("%s", line)
            files.clean(restored)
            self._manager = tf.train.CheckpointManager(
                self._trainer.checkpoint, str(self._folder), max_to_keep=self._keep
            )
        self._saved, self._saved_at = int(self._trainer.iteration.numpy()), time.monotonic()
        return self._saved

    def _restore_newest(self, files: "_CheckpointFiles") -> tuple[int, str]:
        """Restore the newest readable checkpoint; returns its number, or 0 and why the newest could not be read."""
        reasons = []
        for number in reversed(files.complete):
            try:
                self._trainer.checkpoint.restore(str(self._folder / f"ckpt-{number}")).assert_consumed()
            except _UNREADABLE as error:
                reasons.append(f"ckpt-{number}: {str(error).strip().splitlines()[0]}")
            else:
                return number, ""
        return 0, next(iter(reasons), "")

    def save_if_due(self) -> None:
        """Save if the interval in iterations or in seconds has passed since the last save."""
        done = int(self._trainer.iteration.numpy())
        due = done // self.iterations > self._saved // self.iterations
        if due or time.monotonic() > self._saved_at + self._seconds:
            self.save()

    def save(self) -> None:
        """Write the trainer's state, unless the last save wrote the same iteration.

        Raises OSError if it cannot be written; older states stay.
        """
        done = int(self._trainer.iteration.numpy())
        if self._manager is not None and done != self._saved:
            with writing(self._folder):
                self._manager.save(checkpoint_number=done)
        self._saved, self._saved_at = done, time.monotonic()


class _CheckpointFiles:
    """The checkpoints in a folder, by their files; the folder's index file `checkpoint` may be missing or damaged."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._by_number: dict[int, list[pathlib.Path]] = {}
        for path in sorted(folder.glob("ckpt-*")):
            matched = _FILE.match(path.name)
            if matched:
                self._by_number.setdefault(int(matched[1]), []).append(path)
        self.complete = sorted(number for number, paths in self._by_number.items() if _is_complete(paths))
        self._half_written = {
            number for number, paths in self._by_number.items() if any(path.name.endswith("_temp") for path in paths)
        }
        self._index_file = folder / "checkpoint"
        self._named_newest = _named_newest(self._index_file)

    def left_in_place(self, restored: int) -> list[str]:
        """Names of what was written completely but not read: newer checkpoints, and the index file of lost ones."""
        numbers = [number for number in sorted(self._by_number) if number > restored]
        names = [f"ckpt-{number}" for number in numbers if number not in self._half_written]
        return names or ([self._index_file.name] if restored == 0 and self._index_file.exists() else [])

    def describe_faults(self, restored: int) -> list[str]:
        """One line for each damaged or missing checkpoint, and for the index file."""
        if restored == 0:
            return []
        lines = [
            f"{self._folder}/{name} cannot be read and was left in place: resumed from ckpt-{restored}"
            for name in self.left_in_place(restored)
        ]
        if self._named_newest is None:
            lines.append(
                f"{self._index_file} is missing or damaged: resumed from the newest complete checkpoint, "
                f"ckpt-{restored}"
            )
        elif self._named_newest > restored and self._named_newest not in self._by_number:
            lines.append(f"{self._folder}/ckpt-{self._named_newest} is missing: resumed from ckpt-{restored}")
        return lines

    def clean(self, restored: int) -> None:
        """Delete half-written checkpoints and parts of older ones, and name the others in the index file."""
        kept = [number for number in self.complete if number <= restored]
        for number, paths in self._by_number.items():
            is_useless = number < restored or number in self._half_written
            for path in sorted(paths, key=pathlib.Path.is_dir):  # `ckpt-N_temp/` last: it marks a half-written one
                if path.is_dir():
                    shutil.rmtree(path)
                elif is_useless and number not in kept:
                    path.unlink()
        if kept:
            _write_index_file(self._index_file, [f"ckpt-{number}" for number in kept])


def _write_index_file(path: pathlib.Path, names: list[str]) -> None:
    """Write TensorFlow's CheckpointState as text, from which CheckpointManager reads its checkpoints, oldest first.

    The names are relative, so that the run folder can be moved.  CheckpointManager deletes old checkpoints only if
    they are younger than `last_preserved_timestamp`.
    """
    lines = [
        f'model_checkpoint_path: "{names[-1]}"',
        *(f'all_model_checkpoint_paths: "{name}"' for name in names),
        *[f"all_model_checkpoint_timestamps: {time.time()!r}"] * len(names),
        "last_preserved_timestamp: 0.0",
    ]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _is_complete(paths: list[pathlib.Path]) -> bool:
    """Whether the index and every data file of a checkpoint exist."""
    data = [path.name for path in paths if ".data-" in path.name]
    return any(path.name.endswith(".index") for path in paths) and any(
        len(data) == int(name.rpartition("-")[2]) for name in data if name[-5:].isdigit()
    )


def _named_newest(index_file: pathlib.Path) -> int | None:
    """The number of the checkpoint that TensorFlow recorded as the newest; None if the file cannot be read."""
    try:
        found = _NAMED_NEWEST.search(index_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[1]) if found else None
