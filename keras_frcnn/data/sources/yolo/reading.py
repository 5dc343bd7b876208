"""YOLO data sets: a data.yaml, folders of pictures, and one label file for each picture.

Layouts, both with or without the key `path:`:

    images/train/*.jpg, labels/train/*.txt    Ultralytics
    train/images/*.jpg, train/labels/*.txt    Roboflow

A split may also name several folders, or a text file that lists pictures.  The label file of a picture has its name
with `.txt`, in the folder `labels` instead of `images`, or beside the picture.  A row of it is
`class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, in fractions of the picture's
sides.  A picture without a label file has no objects.

Source: the detection data format of Ultralytics YOLO.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_frcnn.data.sources.shared.annotations import AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.picture_folders import SUFFIXES
from keras_frcnn.data.sources.shared.split_names import chosen_splits, joined
from keras_frcnn.data.sources.spec import Request
from keras_frcnn.data.sources.yolo.data_yaml import YoloData, class_name, find_places, read_data_yaml
from keras_frcnn.data.sources.yolo.labels import read_labels
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text, user_path

NO_LABELS = "picture has no label file: it has no objects"


def read(request: Request, problems: Problems) -> SourcePictures:
    """Read one split of `yolo:PATH`.

    PATH is a folder with a data.yaml, or the file itself.  The classes are those of the YAML; a number in a label file
    that the YAML does not name is the class `class_NUMBER`, and counted.  The image id is the picture's path without
    suffix, from the folder that holds all pictures of the split.

    Raises:
      InputError: there is no PATH, the YAML or a label file is invalid, a split or its pictures are not found, or none
        of the pictures of a split has a label file.
    """
    data = read_data_yaml(_path(request), problems)
    parts = [(split, _read_split(data, split, problems)) for split in chosen_splits(request, tuple(data.splits))]
    return joined(parts)


def splits(request: Request) -> tuple[str, ...]:
    """The splits that the YAML names, in its order."""
    return tuple(read_data_yaml(_path(request), Problems()).splits)


def _path(request: Request) -> Path:
    if not request.argument:
        raise InputError("--data yolo", "the path of the data set is missing", "use yolo:FOLDER or yolo:FILE.yaml")
    return user_path(request.argument)


def _read_split(data: YoloData, split: str, problems: Problems) -> SourcePictures:
    """The pictures of one split of the YAML."""
    paths = list(dict.fromkeys(path for place in find_places(data, split, problems) for path in _pictures(place, data)))
    where = f"{data.file}, {split}"
    if not paths:
        raise InputError(where, "there are no pictures (JPEG or PNG)", "write the folder that holds the pictures")
    pictures, unnamed, missing = [], set(), []
    folders_with_labels: dict[Path, bool] = {}
    for image_id, path in zip(_image_ids(paths, where), paths, strict=True):
        labels = _label_file(path, folders_with_labels)
        if not labels.is_file():
            missing.append(path)
            pictures.append(AnnotatedPicture(image_id, path, str(path), None, ()))
            continue
        with problems.skipping():
            objects, numbers = read_labels(labels, data.class_names, data.key_points, problems)
            unnamed |= numbers
            pictures.append(AnnotatedPicture(image_id, path, str(labels), None, objects, in_fractions=True))
    if len(missing) == len(paths):
        labels = _label_file(paths[0], folders_with_labels)
        fix = "add the label files; detection data without labels cannot be used"
        raise InputError(where, f"none of the {len(paths)} pictures has a label file such as {labels}", fix)
    for path in missing:
        problems.count(NO_LABELS, str(path))
    names = (*data.class_names, *(class_name(number) for number in sorted(unnamed)))
    return SourcePictures(tuple(pictures), tuple(dict.fromkeys(names)))


def _pictures(place: Path, data: YoloData) -> Iterator[Path]:
    """The pictures in a folder and its subfolders, sorted, or those that a text file lists."""
    if place.is_dir():
        for folder, folders, files in os.walk(place):
            folders.sort()
            # macOS leaves a hidden file ._NAME beside each file that it copies.
            shown = (name for name in sorted(files) if not name.startswith("."))
            yield from (Path(folder, name) for name in shown if name.lower().endswith(SUFFIXES))
        return
    try:
        lines = read_text(place).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            place, f"cannot be read ({error})", "save it as UTF-8 text with one picture per line"
        ) from None
    for number, line in enumerate(lines, start=1):
        written = line.strip().replace("\\", "/")
        if written:
            candidates = (place.parent / written, data.root / written, data.file.parent / written)
            found = next((path for path in candidates if os.path.isfile(path)), None)
            if found is None:
                raise InputError(f"{place}, line {number}", f"picture {written!r} not found", "correct the path")
            yield found


def _image_ids(paths: Sequence[Path], where: str) -> list[str]:
    """The path of each picture from their common folder, with the suffix only where two would be the same."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    names = [path.relative_to(common) for path in absolute]
    counts = Counter(name.with_suffix("") for name in names)
    ids = [(name.with_suffix("") if counts[name.with_suffix("")] == 1 else name).as_posix() for name in names]
    for image_id, count in Counter(ids).items():
        if count > 1:
            raise InputError(where, f"{count} pictures have the name {image_id}", "rename them")
    return ids


def _label_file(path: Path, folders_with_labels: dict[Path, bool]) -> Path:
    """The label file of a picture: `labels` for the last `images` in its path if that folder exists, or beside it.

    `folders_with_labels` holds whether such a folder exists, by the picture's folder.
    """
    folder = path.parent
    other = _labels_folder(folder)
    if folder not in folders_with_labels:
        folders_with_labels[folder] = other is not None and other.is_dir()
    return (other if other is not None and folders_with_labels[folder] else folder) / f"{path.stem}.txt"


def _labels_folder(folder: Path) -> Path | None:
    """The folder with its last part `images` replaced by `labels`; None without such a part."""
    parts = list(folder.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = "labels"
            return Path(*parts)
    return None
