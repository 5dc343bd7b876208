"""The record of a detection in many pictures: one JSON line for each, from which an interrupted command resumes.

The folder holds detections.jsonl and settings.json.  A line is written when all other outputs of its picture are, so a
picture with a line is done.  A line that a killed process left unfinished, and those of pictures that could not be
read, are removed when the work resumes.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import parse_json, read_json, write_atomically, write_json

LINES, SETTINGS = "detections.jsonl", "settings.json"

_OTHER = "give another folder with --out"


class Record:
    """The open record in a folder.  Use it as a context manager."""

    def __init__(self, folder: Path, settings: dict[str, Any], resume: bool):
        """Begin a record, or continue one.

        Args:
          folder: for the two files; it is created if necessary.
          settings: JSON values that must be equal when the work resumes.
          resume: continue the record that the folder holds, if it holds one.

        Raises:
          InputError: the folder holds a record and `resume` is false, its record has other settings or is damaged, or
            it cannot be written.
        """
        self.path = folder / LINES
        self.done: set[str] = set()  # the images of earlier lines
        try:
            if self.path.exists():
                self._continue(folder, settings, resume)
            else:
                _check_foreign(folder / SETTINGS, settings)
                write_json(folder / SETTINGS, settings)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise InputError(folder, f"cannot be written ({error.strerror})", "give a writable folder") from error

    def add(self, line: dict[str, Any]) -> None:
        """Add the line of a picture.  Raises OSError."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _continue(self, folder: Path, settings: dict[str, Any], resume: bool) -> None:
        if not resume:
            raise InputError(self.path, "holds detections of an earlier run", f"continue it with --resume, or {_OTHER}")
        try:
            before = read_json(folder / SETTINGS)
        except (OSError, ValueError) as error:
            raise InputError(folder / SETTINGS, f"cannot be read ({error})", _OTHER) from error
        now = json.loads(json.dumps(settings))  # through JSON, so that tuples and lists compare equal
        for name in sorted(before.keys() | now.keys()) if isinstance(before, dict) else ["settings"]:
            if not isinstance(before, dict) or before.get(name) != now.get(name):
                problem = f"these detections were begun with another {name}"
                raise InputError(folder / SETTINGS, problem, f"give the same to resume, or {_OTHER}")

        def write(temporary: Path) -> None:
            with open(temporary, "w", encoding="utf-8") as file:
                for line in read_lines(self.path):
                    if "error" not in line:
                        file.write(json.dumps(line) + "\n")
                        self.done.add(line["image"])

        write_atomically(self.path, write)


def read_lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The lines of a record; the last one is left out if it is not complete.

    Raises InputError for a line that is not one of a record.
    """
    with open(path, "rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                return
            try:
                line = parse_json(text.decode())
                known = isinstance(line["image"], str) and all(map(_is_detection, line["detections"]))
            except (ValueError, KeyError, TypeError):
                known = False
            if not known:
                raise InputError(f"{path}, line {number}", "is not the line of a picture", _OTHER)
            yield line


def _is_detection(one: Any) -> bool:
    numbers = (one["score"], *one["box"])
    return (
        len(numbers) == 5 and isinstance(one["class"], str) and all(isinstance(value, float | int) for value in numbers)
    )


def _check_foreign(path: Path, settings: dict[str, Any]) -> None:
    """Raise InputError if there is a file of that name which is not that of a record."""
    if not path.exists():
        return
    try:
        own = read_json(path).keys() == settings.keys()
    except (ValueError, AttributeError):
        own = False
    if not own:
        raise InputError(path, "is not a file of this command, so it is not replaced", _OTHER)
