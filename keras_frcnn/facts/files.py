"""Atomic writes of files and folders, and JSON files."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

PARTIAL = "partial."  # temporary names start with a dot and this


def write_atomically(path: str | os.PathLike, write: Callable[[pathlib.Path], object]) -> None:
    """Write a file or folder so that `path` never holds an incomplete one.

    An existing file or folder at `path` is replaced.  If the write fails, it stays.

    Args:
        path: The target.  Its parent folders are created if necessary.
        write: Called with a temporary path in the same folder, with the same suffix; creates the file or folder there.

    Raises:
        OSError: The target cannot be written.  Errors of `write` are passed on.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The temporary name keeps the suffix because writers choose their format by it.
    temporary, replaced = (path.with_name(f".{PARTIAL}{os.getpid()}{kind}.{path.name}") for kind in ("", ".old"))
    try:
        write(temporary)
        if path.is_dir():  # os.replace can replace a folder only if it is empty
            os.replace(path, replaced)
        try:
            os.replace(temporary, path)
        except OSError:
            if replaced.exists():
                os.replace(replaced, path)
            raise
    finally:
        _remove(temporary)
        _remove(replaced)


def remove_halves(folder: str | os.PathLike) -> None:
    """Remove the temporary files and folders that killed processes left in `folder` and its subfolders."""
    for path in list(pathlib.Path(folder).rglob(f".{PARTIAL}*")):
        _remove(path)


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.  Raises OSError, and ValueError if the file is not JSON."""
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file atomically.  Raises OSError, and TypeError if `value` cannot be written as JSON."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
