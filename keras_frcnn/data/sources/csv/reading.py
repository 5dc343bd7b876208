"""CSV files with one object per row, in the dialects of `columns.py`.

A picture without objects has one row whose coordinates and class are empty.  The rows of a picture need not be
neighbours.  A file of `name,id` rows beside the annotations, e.g. `classes.csv`, gives the order of the classes.
"""

import csv
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.data.sources.csv.columns import Columns, find_columns
from keras_frcnn.data.sources.shared.annotations import AnnotatedObject, AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.image_ids import safe_image_id
from keras_frcnn.data.sources.shared.numbers import read_number, whole_number
from keras_frcnn.data.sources.shared.split_names import chosen_splits, joined
from keras_frcnn.data.sources.spec import ALL, Request
from keras_frcnn.data.sources.voc.xml import continuous_corners
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import check_regular, user_path

SIZES_DIFFER = "rows of one picture state different sizes: the first one used"

_CLASS_FILES = ("classes", "_classes", "class", "class_names", "class_mapping", "mapping")  # stems


class _Picture(NamedTuple):
    """The rows of one picture so far."""

    name: str  # as written
    size: tuple[float, float] | None
    objects: list[AnnotatedObject]


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `csv:PATH`, a CSV file or a folder with one CSV file per split.

    The identifier of a picture is its path as written, without the suffix; the suffix stays where two pictures differ
    in nothing else.  The classes are those of the class file; without one, none are declared.

    Raises:
      InputError: there is no PATH; a file or a picture is missing; a file has other columns, a row has an invalid
        field, the rows are detections; or two joined splits have a picture in common.
    """
    root, available = _files(request)
    images_root = None if request.images_root is None else user_path(request.images_root)
    seen: dict[Path, str] = {}  # picture -> the place that lists it
    parts = []
    for split in chosen_splits(request, splits(request)) or (ALL,):
        file = available[split]
        pictures = _read_file(file, images_root or file.parent, problems)
        if request.split == ALL:  # every picture once
            pictures = [picture for picture in pictures if picture.image_path not in seen]
        for picture in pictures:
            if picture.image_path in seen:
                problem = f"the same file as {seen[picture.image_path]}"
                raise InputError(picture.where, problem, "list each picture under one name, in one split")
            seen[picture.image_path] = picture.where
        parts.append((split, SourcePictures(_with_ids(pictures), _class_names(file.parent, root))))
    if not seen:
        raise InputError(request.where, "there are no rows", "use a file with one object per row")
    return joined(parts)


def splits(request: Request) -> tuple[str, ...]:
    """The splits of a folder, sorted; a single file has none."""
    return tuple(name for name in _files(request)[1] if name != ALL)


# The files.


def _files(request: Request) -> tuple[Path, dict[str, Path]]:
    """The folder that paths start from, and the CSV file of each split; a single file is that of `ALL`."""
    if not request.argument:
        raise InputError("--data csv", "the path is missing", "use csv:FILE or csv:FOLDER")
    path = user_path(request.argument)
    if path.is_file():
        return path.parent, {ALL: path}
    if not path.is_dir():
        raise InputError(request.where, "not found", "use a CSV file, or a folder with one CSV file per split")
    found: dict[str, Path] = {}
    for file in sorted([*path.glob("*.csv"), *path.glob("*/*.csv")]):
        if file.stem.lower() in _CLASS_FILES or file.name.startswith("."):  # macOS leaves hidden copies ._NAME
            continue
        name = _split_name(file.stem) if file.parent == path else file.parent.name
        if name in found:
            problem = f"{found[name].relative_to(path)} and {file.relative_to(path)} are both the split {name}"
            raise InputError(request.where, problem, "keep one file per split, or name the file instead of the folder")
        found[name] = file
    if not found:
        raise InputError(request.where, "the folder holds no CSV file", "use a folder with one CSV file per split")
    return path, dict(sorted(found.items()))


def _split_name(stem: str) -> str:
    """The split of a file like train.csv, train_labels.csv or annotations-train.csv."""
    return re.sub(r"(?i)^(labels|annotations)[-_]+(?=.)|(?<=.)[-_]+(labels|annotations)$", "", stem)


def _class_names(*folders: Path) -> tuple[str, ...] | None:
    """The names in the class file of the first folder that has one, in the order of their ids."""
    candidates = (folder / f"{stem}.csv" for folder in folders for stem in _CLASS_FILES)
    file = next((file for file in candidates if file.is_file()), None)
    if file is None:
        return None
    names: dict[int, str] = {}
    for line, row in _rows(file):
        where = f"{file}, line {line}"
        if len(row) != 2 or not row[0]:
            raise InputError(where, f"expected a class name and its id (got {row})", "write NAME,ID")
        number = whole_number(row[1].strip())
        if number is None:
            raise InputError(f"{where}, id", f"expected a whole number (got {row[1]!r})", "write NAME,ID")
        if number in names or row[0] in names.values():
            raise InputError(where, "the class or its id occurs twice", "list each class once")
        names[number] = row[0]
    return tuple(name for _, name in sorted(names.items()))


# The rows.


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not empty, each with the number of its first line."""
    line = 1
    try:
        check_regular(file)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True, skipinitialspace=True)
            for row in reader:
                if any(field.strip() for field in row):
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}, line {line}", f"not a row of CSV ({error})", "correct the row") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}, line {line} or after it", f"not UTF-8 ({error})", "save it as UTF-8") from None
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})", "check the file and its permissions") from None


def _read_file(file: Path, images_root: Path, problems: Problems) -> list[AnnotatedPicture]:
    """The pictures of a CSV file, in the order of their first rows; each has its written path as image id."""
    rows = _rows(file)
    first = next(rows, None)
    if first is None:
        raise InputError(file, "the file is empty", "write one object per row")
    columns = find_columns(first[1], str(file), problems)
    pictures: dict[str, _Picture] = {}
    for line, row in rows if columns.header else itertools.chain([first], rows):
        with problems.skipping():
            _add_row(pictures, row, columns, file, line, problems)
    found = []
    for name, size, objects in pictures.values():
        where = f"{file}, picture {name}"
        with problems.skipping():
            path = _find_picture(images_root, name, where)
            found.append(AnnotatedPicture(name, path, where, size, tuple(objects)))
    return found


def _add_row(
    pictures: dict[str, _Picture], row: list[str], columns: Columns, file: Path, line: int, problems: Problems
) -> None:
    """Add a row to the picture that it names."""
    where = f"{file}, line {line}"
    if len(row) != columns.fields:
        problem = f"{len(row)} fields instead of {columns.fields}"
        raise InputError(where, problem, 'correct the row; put a name that has a comma in "quotes"')
    name = row[columns.picture]
    if not name.strip() or "\0" in name:
        raise InputError(f"{where}, picture", "missing or invalid path", "write the path of the picture")
    size = None
    if columns.size is not None:
        height, width = (
            read_number(row[at], f"{where}, {side}") for at, side in zip(columns.size, ("height", "width"), strict=True)
        )
        size = (height, width)
    picture = pictures.setdefault(name, _Picture(name, size, []))
    if picture.size != size:
        problems.repaired(SIZES_DIFFER, str(file), f"line {line}", "write the same width and height in all rows")
    label = _read_object(row, columns, where, f"line {line}")
    if label is not None:
        picture.objects.append(label)


def _read_object(row: list[str], columns: Columns, where: str, place: str) -> AnnotatedObject | None:
    """The object of a row; None if the row only names a picture without objects."""
    class_name = row[columns.class_name]
    fields = [row[at] for at in columns.corners]
    if not class_name.strip() and not any(field.strip() for field in fields):
        return None
    if not class_name.strip():
        raise InputError(f"{where}, class", "the field is empty", "name the class, or leave the box empty too")
    names = ("xmin", "ymin", "xmax", "ymax") if columns.from_1 else ("x1", "y1", "x2", "y2")
    places = (f"{where}, {name}" for name in names)
    left, top, right, bottom = map(read_number, fields, places)
    corners = continuous_corners(left, top, right, bottom) if columns.from_1 else (top, left, bottom, right)
    return AnnotatedObject(place, class_name, corners, difficult=False)


def _find_picture(images_root: Path, name: str, where: str) -> Path:
    """The file of a picture; a path that was written on Windows may have backslashes."""
    candidates = [images_root / name, images_root / name.replace("\\", "/")]
    path = next((path for path in candidates if os.path.isfile(path)), None)  # False for a name that no file can have
    if path is None:
        fix = "add the picture, or give the folder that the paths start from with --images-root"
        raise InputError(where, f"picture not found: {candidates[0]}", fix)
    return path


def _with_ids(pictures: list[AnnotatedPicture]) -> tuple[AnnotatedPicture, ...]:
    """The pictures with their image ids: the paths as written, without the suffix where that leaves them different."""
    written = [safe_image_id(picture.image_id) for picture in pictures]
    short = [name.removesuffix(picture.image_path.suffix) for name, picture in zip(written, pictures, strict=True)]
    times: Mapping[str, int] = Counter(short)
    ids = [one if times[one] == 1 else name for one, name in zip(short, written, strict=True)]
    seen: dict[str, AnnotatedPicture] = {}
    for image_id, picture in zip(ids, pictures, strict=True):
        if image_id in seen:
            problem = f"the same name as the picture of {seen[image_id].where}"
            raise InputError(picture.where, problem, "give the pictures different names")
        seen[image_id] = picture
    return tuple(picture._replace(image_id=image_id) for image_id, picture in seen.items())
