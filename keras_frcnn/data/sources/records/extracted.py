"""Pictures that lie inside record files, extracted once into the user's cache folder.

The rest of the project reads pictures from files.  The first use of a record source therefore writes each encoded
picture, unchanged, to a file of its own, and the annotations to an index beside them.  Later uses read only the index.
The folder is named after the record files' paths, sizes and times, so that changed records are extracted again.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.facts.cache import user_cache_dir
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json

VERSION = 1  # part of the folder's name; raise it when the same records give another index
_PICTURES_PER_FOLDER = 1000
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}  # by the first bytes of the file


class RecordedObject(NamedTuple):
    """One object of a record."""

    class_name: str | None  # None: the record gives only a number
    class_number: int | None
    corners: tuple[float, float, float, float]  # y0 x0 y1 x1, in fractions of the picture's sides
    difficult: bool
    crowd: bool
    area: float | None  # pixels; None: not stated


class RecordedPicture(NamedTuple):
    """One picture of a record file, with its encoded bytes."""

    image_id: str
    where: str  # record file and number in it, for messages
    size: tuple[int, int] | None  # height, width as the record states them
    objects: tuple[RecordedObject, ...]
    encoded: bytes  # JPEG or PNG


class ExtractedPicture(NamedTuple):
    """One picture of a record file, whose encoded bytes are now in the file `path`."""

    image_id: str
    where: str
    size: tuple[int, int] | None
    objects: tuple[RecordedObject, ...]
    path: Path


def extracted(
    title: str, files: Sequence[Path], read: Callable[[], Iterable[RecordedPicture]]
) -> tuple[ExtractedPicture, ...]:
    """The pictures of some record files, from the cache; the first use reads and extracts them.

    Prints one line when it extracts: how many pictures, their size, and the folder.

    Args:
      title: the data, for messages and as part of the key.
      files: the record files.
      read: reads the records, in a fixed order.

    Raises:
      InputError: a picture is neither JPEG nor PNG, or the cache folder cannot be written.  Errors of `read` pass.
    """
    folder = user_cache_dir() / "records" / _key(title, files)
    index = folder / "index.json"
    if not index.is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
                count, size = _extract(Path(scratch) / "set", _readable(read(), title))
                os.rename(Path(scratch) / "set", folder)
            line = f"data: extracted {count} pictures ({size / 1e6:,.1f} MB) of {title} to {folder}"
            print(line, file=sys.stderr, flush=True)
        except OSError as error:
            if not index.is_file():  # if it exists, another process has just extracted the same records
                fix = "free some space, or set XDG_CACHE_HOME to a folder that you can write to"
                raise InputError(folder, f"cannot be written ({error.strerror or error})", fix) from None
    try:
        rows = read_json(index)
    except (OSError, ValueError) as error:
        raise InputError(index, f"is damaged ({error})", f"delete the folder {folder}") from error
    return tuple(_from_row(row, folder) for row in rows)


def _readable(pictures: Iterable[RecordedPicture], title: str) -> Iterator[RecordedPicture]:
    """The pictures.  Raises InputError if a record file cannot be read, so that the cache is not blamed for it."""
    try:
        yield from pictures
    except OSError as error:
        where = error.filename or title
        raise InputError(where, f"cannot be read ({error.strerror or error})", "check the file") from error


def _key(title: str, files: Sequence[Path]) -> str:
    """The name of the folder for these files: it changes with their paths, sizes and times."""
    digest = hashlib.sha256(title.encode())
    for file in files:
        stat = file.stat()
        digest.update(f"\n{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    return f"v{VERSION}-{digest.hexdigest()[:16]}"


def _extract(folder: Path, pictures: Iterable[RecordedPicture]) -> tuple[int, int]:
    """Write the pictures and their index into a new folder; returns their number and their size in bytes."""
    folder.mkdir()
    rows, size = [], 0
    for number, picture in enumerate(pictures):
        suffix = next((end for start, end in _SUFFIXES.items() if picture.encoded.startswith(start)), None)
        if suffix is None:
            raise InputError(picture.where, "the encoded picture is neither JPEG nor PNG", "convert it to JPEG or PNG")
        name = f"{number // _PICTURES_PER_FOLDER:04d}/{number:07d}{suffix}"
        if number % _PICTURES_PER_FOLDER == 0:
            (folder / name).parent.mkdir()
        (folder / name).write_bytes(picture.encoded)
        rows.append([picture.image_id, picture.where, picture.size, picture.objects, name])
        size += len(picture.encoded)
    (folder / "index.json").write_text(json.dumps(rows, separators=(",", ":")), encoding="utf-8")
    return len(rows), size


def _from_row(row: list, folder: Path) -> ExtractedPicture:
    """One picture of the index."""
    image_id, where, size, objects, name = row
    recorded = tuple(RecordedObject(one[0], one[1], tuple(one[2]), *one[3:]) for one in objects)
    return ExtractedPicture(image_id, where, None if size is None else (size[0], size[1]), recorded, folder / name)
