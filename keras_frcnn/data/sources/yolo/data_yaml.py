"""The data.yaml of a YOLO data set: class names, and where the pictures of each split are."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from keras_frcnn.data.sources.shared.annotations import Problems
from keras_frcnn.data.sources.shared.numbers import whole_number
from keras_frcnn.data.sources.shared.split_names import short_name, spellings
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text, user_path

OTHER_FOLDER = "pictures of the split are not where the YAML says: another folder used"
OTHER_COUNT = "nc differs from the number of names: names used"
SAME_NAME = "a class name occurs more than once: treated as one class"

_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = ("train", "val", "test")
_NOT_SPLITS = ("path", "names", "nc", "download", "roboflow", "kpt_shape", "flip_idx", "channels")
_NOTHING = ("", "~", "null", "Null", "NULL")  # how YAML writes no value
_MOST_CLASSES = 100_000
_LARGEST = 10_000_000  # bytes


class YoloData(NamedTuple):
    """What a data.yaml says."""

    file: Path
    root: Path  # the folder that its paths are relative to
    class_names: tuple[str, ...]  # class i of a label file is class_names[i]
    splits: dict[str, tuple[str, ...]]  # split -> folders of pictures and lists of pictures, as written
    key_points: bool  # rows of label files have key points after the box


def read_data_yaml(path: Path, problems: Problems) -> YoloData:
    """Read a data.yaml.

    Args:
      path: the file, or the folder that holds it.
      problems: counts the faults that are repaired.

    Raises:
      InputError: the file is missing, cannot be read or is not YAML, or a field is missing or invalid.
    """
    file = _find_yaml(path)
    fields = _parse(file)
    names = _class_names(fields, file, problems)
    root = _root(fields, file)
    splits = {}
    for key, value in fields.items():
        if key in _NOT_SPLITS or value in _NOTHING:
            continue
        places = tuple(value) if isinstance(value, list) else (value,)
        if short_name(key) in _SPLITS:
            if not places or not all(isinstance(one, str) for one in places):
                raise InputError(f"{file}, {key}", f"expected a folder (got {value!r})", "write a folder or a list")
            splits[key] = places
        elif all(
            isinstance(one, str) and os.path.exists(root / one) for one in places
        ):  # another key that names pictures
            splits[key] = places
    if not splits:
        raise InputError(file, "names no split", "write train: FOLDER and val: FOLDER")
    return YoloData(file, root, names, splits, "kpt_shape" in fields)


def find_places(data: YoloData, split: str, problems: Problems) -> tuple[Path, ...]:
    """The folders and list files of a split, in the order of the YAML.

    Many real files name a folder that does not exist from where the YAML is: `../train/images` beside the YAML, the
    folder of another machine, or `val` where the folder is `valid`.  The folder that is meant is then used and counted.

    Raises:
      InputError: a folder is not found.
    """
    found = []
    for written in data.splits[split]:
        candidates = list(_candidates(data, split, written))
        place = next((path for path in candidates if os.path.exists(path)), None)
        if place is None:
            tried = ", ".join(dict.fromkeys(str(path) for path in candidates[:4]))
            fix = "write the folder of the pictures, relative to the YAML file"
            raise InputError(f"{data.file}, {split}", f"{written!r} not found (tried {tried})", fix)
        if place != candidates[0]:
            problems.repaired(OTHER_FOLDER, str(data.file), split, f"write {place}")
        found.append(place)
    return tuple(found)


def _candidates(data: YoloData, split: str, written: str) -> Iterator[Path]:
    """Where the pictures of a split may be: first as written, then where they usually are."""
    text = written.replace("\\", "/")
    home, names = data.file.parent, spellings(split)
    yield data.root / text
    yield home / text
    parts = [part for part in Path(text).parts if part not in ("/", ".", "..")]
    for start in range(len(parts)):  # the written folder without the folders of another machine
        if start == 0 or set(parts[start:]) & set(names):
            yield home.joinpath(*parts[start:])
    for name in names:
        yield home / name / "images"
        yield home / "images" / name
        yield home / name


def _find_yaml(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(path, "folder or file not found", "use the folder of a YOLO data set or its data.yaml")
    files = [path / name for name in _NAMES if (path / name).is_file()]
    files = files or sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if not files:
        raise InputError(path, "holds no data.yaml", "write one with train: FOLDER, val: FOLDER and names: [...]")
    if len(files) > 1 and files[0].name not in _NAMES:
        names = ", ".join(file.name for file in files)
        raise InputError(path, f"holds several YAML files: {names}", "use yolo:FILE.yaml")
    return files[0]


class _AliasError(ValueError):
    """The YAML uses an alias."""


class _TextLoader(yaml.BaseLoader):
    """Reads every value as text, so that the class name `no` is not False; refuses aliases, which can expand a lot."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _AliasError
        return super().compose_node(parent, index)


def _parse(file: Path) -> dict[str, Any]:
    """The fields of a YAML file; every scalar is text."""
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(file, f"is larger than {_LARGEST:,} bytes", "use the data.yaml of a YOLO data set")
        fields = yaml.load(read_text(file), Loader=_TextLoader)
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})", "check the file and its permissions") from None
    except _AliasError:
        raise InputError(file, "uses a YAML alias, which is not allowed", "write the values out") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise InputError(file, f"is not valid YAML ({problem})", "correct the file") from None
    if not isinstance(fields, dict):
        raise InputError(file, "is not a YAML mapping", "write train: FOLDER, val: FOLDER and names: [...]")
    return fields


def _root(fields: dict[str, Any], file: Path) -> Path:
    """The folder in `path:`, or that of the YAML file if there is no such folder."""
    written = fields.get("path", "")
    if not isinstance(written, str):
        raise InputError(f"{file}, path", f"expected a folder (got {written!r})", "write one folder, or remove it")
    root = file.parent / user_path(written)
    return root if written not in _NOTHING and root.is_dir() else file.parent


def _class_names(fields: dict[str, Any], file: Path, problems: Problems) -> tuple[str, ...]:
    """The class names in the order of their numbers; missing ones are `class_NUMBER`, as Ultralytics names them."""
    names = fields.get("names")
    count = _count(fields, file)
    if isinstance(names, dict):
        numbered = {_class_number(key, file): name for key, name in names.items()}
    elif isinstance(names, list):
        numbered = dict(enumerate(names))
    elif (names is None or names in _NOTHING) and count is not None:
        return tuple(class_name(number) for number in range(count))
    else:
        problem = "missing field" if names is None else f"expected a list (got {names!r})"
        raise InputError(f"{file}, names", problem, "write names: [first, second, ...]")
    for number, name in numbered.items():
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{file}, names, {number}", f"expected a name (got {name!r})", "write a name for each class"
            )
    listed = tuple(numbered.get(number, class_name(number)) for number in range(max(numbered, default=-1) + 1))
    if not listed:
        raise InputError(f"{file}, names", "there are no classes", "write names: [first, second, ...]")
    if count is not None and count != len(listed):
        problems.repaired(OTHER_COUNT, str(file), "nc", f"write nc: {len(listed)}")
    if len(set(listed)) < len(listed):
        problems.repaired(SAME_NAME, str(file), "names", "give each class its own name")
    return listed


def class_name(number: int) -> str:
    """The name of a class that the YAML does not name."""
    return f"class_{number}"


def _count(fields: dict[str, Any], file: Path) -> int | None:
    written = fields.get("nc", "")
    if written in _NOTHING:
        return None
    count = whole_number(written, below=_MOST_CLASSES)
    if not count:
        raise InputError(f"{file}, nc", f"expected the number of classes (got {written!r})", "correct or remove it")
    return count


def _class_number(key: str, file: Path) -> int:
    number = whole_number(key, below=_MOST_CLASSES)
    if number is None:
        raise InputError(f"{file}, names", f"{key!r} is not the number of a class", "number the classes from 0")
    return number
