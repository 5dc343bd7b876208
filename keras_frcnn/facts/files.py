"""Atomic writes of files and folders, and JSON files."""

import errno
import hashlib
import json
import math
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

from keras_frcnn.facts.errors import InputError

T = TypeVar("T")
PARTIAL = "partial."  # temporary names start with a dot and this

_LONGEST = 200  # bytes of a name to which a suffix is added; file systems allow 255
_KEPT = 50  # characters of a name that a temporary name keeps


def write_atomically(path: str | os.PathLike, write: Callable[[pathlib.Path], object]) -> None:
    """Write a file or folder so that `path` never holds an incomplete one.

    An existing file or folder at `path` is replaced, but never a folder by a file.  If the write fails, it stays.

    Args:
        path: The target.  Its parent folders are created if necessary.
        write: Called with a temporary path in the same folder, with the same suffix; creates the file or folder there.

    Raises:
        OSError: The target cannot be written; the error names a file.  Other errors of `write` are passed on.
    """
    path = pathlib.Path(path)
    if not path.name:  # "." or "/"
        raise _is_a_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The temporary name keeps the suffix because writers choose their format by it, and is never too long.
    end = path.name[-_KEPT:]
    temporary, replaced = (path.with_name(f".{PARTIAL}{os.getpid()}{kind}.{end}") for kind in ("", ".old"))
    try:
        write(temporary)
        if path.is_dir() and temporary.is_file():
            raise _is_a_folder(path)
        if path.is_dir():  # os.replace can replace a folder only if it is empty
            os.replace(path, replaced)
        try:
            os.replace(temporary, path)
        except OSError:
            if replaced.exists():
                os.replace(replaced, path)
            raise
    except OSError as error:
        if error.filename is None:  # the errors of writing to an open file name none
            error.filename = os.fspath(path)
        raise
    finally:
        _remove(temporary)
        _remove(replaced)


def name_that_fits(name: str) -> str:
    """`name`, or a shorter name for the same file if a suffix would make it too long for file systems.

    The shorter name has the beginning of `name` and a digest of all of it.
    """
    content = os.fsencode(name)
    if len(content) <= _LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{content[: _LONGEST - 17].decode(errors='ignore')}-{digest}"


def user_path(text: str | os.PathLike) -> pathlib.Path:
    """A path in which ~ and ~NAME stand for home folders.  Raises InputError if there is no such user."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(text, f"has no home folder ({error})", "write the whole path") from error


def refuse_folder(path: str | os.PathLike, fix: str) -> None:
    """Raise InputError if a file that is to be written is a folder.  Call it before long work."""
    if os.path.isdir(path):
        raise InputError(path, "is a folder", fix)


def refuse_content(folder: str | os.PathLike) -> None:
    """Raise InputError unless a folder that is to be written is empty or does not exist."""
    folder = pathlib.Path(folder)
    try:
        taken = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "use a new folder") from None
    if taken:
        raise InputError(folder, "already exists and is not an empty folder", "use a new folder")


def _is_a_folder(path: pathlib.Path) -> OSError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))


def remove_halves(folder: str | os.PathLike) -> None:
    """Remove the temporary files and folders that killed processes left in `folder` and its subfolders."""
    for path in list(pathlib.Path(folder).rglob(f".{PARTIAL}*")):
        _remove(path)


def check_regular(path: str | os.PathLike) -> None:
    """Raise OSError if there is no such file, or if it is a pipe, a socket or a device, whose reader may wait for ever.

    Folders pass: opening one raises an error of its own.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def make_writable(folder: str | os.PathLike, where: str | os.PathLike, fix: str) -> None:
    """Create a folder if necessary, and write a file to it and delete it again.

    Call it before long work, so that a place that cannot be written costs nothing.  Raises InputError for `where`, with
    `fix`, if the folder cannot be written.
    """
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=os.fspath(folder), prefix=f".{PARTIAL}"):
            pass
    except OSError as error:
        raise InputError(where, f"cannot be written ({error.strerror or error})", fix) from error


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, without the byte order mark that some editors write.

    Raises OSError if the file is not a regular one or cannot be read, and ValueError if it is not UTF-8.
    """
    check_regular(path)
    return pathlib.Path(path).read_text(encoding="utf-8-sig")


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text; `pairs` makes the value of an object from its names and values.

    Raises ValueError if the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.  Raises OSError, and ValueError if the file is not JSON."""
    return parse_json(read_text(path))


def read_known(path: str | os.PathLike, read: Callable[[Any], T], fix: str) -> T:
    """What `read` makes of the values in a JSON file.

    Raises InputError, with `fix`, if the file cannot be read, or if `read` does not find what it expects.
    """
    try:
        return read(read_json(path))
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(path, f"cannot be read ({type(error).__name__}: {error})", fix) from error


def nan_to_none(value: float) -> float | None:
    """A number for a JSON file, which has no NaN."""
    return None if math.isnan(value) else float(value)


def none_to_nan(value: float | None) -> float:
    """The inverse of `nan_to_none`."""
    return math.nan if value is None else value


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a JSON file atomically.  Raises OSError, and TypeError if `value` cannot be written as JSON."""
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
