"""The detections of one image as the evaluations take them, and their official file form.

The PASCAL VOC development kit keeps detections in one text file for each class, `comp4_det_test_CLASS.txt`, with lines
of `image_id score xmin ymin xmax ymax`, 1-based inclusive pixels.  Many published detectors left theirs in this form.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_frcnn.facts.errors import InputError


class ImageDetections(NamedTuple):
    """What a detector found in one image; padding is already dropped."""

    image_id: str
    boxes: np.ndarray  # (D, 4) yxyx, pixels of the stored picture, 0-based continuous corners
    classes: np.ndarray  # (D,) int, 1..len(class_names)
    scores: np.ndarray  # (D,)


def check_record(record: ImageDetections, class_count: int) -> None:
    """Raise `InputError` for lengths that differ, a class that is not in 1..class_count or a number that is not finite.

    Classes are checked because class 0, left from padding, would otherwise be dropped in silence; scores because NaN
    sorts last in silence.
    """
    where = f"detections of image {record.image_id!r}"
    boxes, classes, scores = (np.asarray(field) for field in record[1:])
    if not boxes.size == 4 * classes.size == 4 * scores.size:
        raise InputError(where, f"{boxes.size / 4:g} boxes, {classes.size} classes and {scores.size} scores",
                         "give one of each for every detection")
    if not np.all((classes >= 1) & (classes <= class_count)):
        raise InputError(where, f"a class is not in 1..{class_count}", "drop padding and use the data set's classes")
    if not (np.all(np.isfinite(boxes)) and np.all(np.isfinite(scores))):
        raise InputError(where, "a box or score is not a finite number", "see whether the training has diverged")


def voc_results_path(directory, class_name: str, split: str = "test") -> Path:
    """The official file of one class; `comp4` is the kit's name for detection trained on any data.

    Raises `InputError` for a class name that cannot be part of a file name.
    """
    if "/" in class_name:
        raise InputError(f"class name {class_name!r}", "a VOC result file is named after it", "take out the '/'")
    return Path(directory) / f"comp4_det_{split}_{class_name}.txt"


def read_voc_results(directory, class_names: Sequence[str], split: str = "test") -> list[ImageDetections]:
    """Read the official result files of all classes.

    Gives one record for each image that is named in any file, in the order of the image ids, boxes in float64 and
    0-based continuous corners.  Within an image and class the order of the lines is kept, as it decides equal scores.

    Raises `InputError` for a file that cannot be read and, with its line number, for a line that is not
    `image_id score xmin ymin xmax ymax` with finite numbers.
    """
    image_ids, classes, values = [], [], []
    for class_index, class_name in enumerate(class_names, start=1):
        path = voc_results_path(directory, class_name, split)
        for image_id, *numbers in _read_lines(path):
            image_ids.append(image_id)
            classes.append(class_index)
            values.append(numbers)
    if not values:
        return []

    ids, image_indices = np.unique(image_ids, return_inverse=True)
    order = np.argsort(image_indices, kind="stable")
    starts = np.searchsorted(image_indices[order], np.arange(1, len(ids)))
    values = np.asarray(values, np.float64)[order]
    scores, xmin, ymin, xmax, ymax = values.T
    boxes = np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=1)
    per_image = (np.split(field, starts) for field in (boxes, np.asarray(classes, np.int32)[order], scores))
    return [ImageDetections(str(image_id), *fields) for image_id, *fields in zip(ids, *per_image, strict=True)]


def write_voc_results(
    directory, detections: Iterable[ImageDetections], class_names: Sequence[str], split: str = "test"
) -> list[Path]:
    """Write the official result file of every class, empty where there is no detection, and give their paths.

    Numbers are written in full, so that what is read back has the same order and the same AP; the one decimal that
    many tools write moves boxes over the threshold and makes scores equal.

    Raises `InputError` for an image id that holds white space, as the format separates its fields by that, and where
    `check_record` does.
    """
    lines = {class_index: [] for class_index in range(1, len(class_names) + 1)}
    for record in detections:
        check_record(record, len(class_names))
        image_id, boxes, classes, scores = record
        if image_id.split() != [image_id]:
            raise InputError(f"image id {image_id!r}", "white space separates the fields of a VOC result file",
                             "rename the image")
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4) + (1, 1, 0, 0)
        for (ymin, xmin, ymax, xmax), class_index, score in zip(boxes.tolist(), classes, scores, strict=True):
            lines[int(class_index)].append(f"{image_id} {float(score)!r} {xmin!r} {ymin!r} {xmax!r} {ymax!r}\n")

    Path(directory).mkdir(parents=True, exist_ok=True)
    paths = [voc_results_path(directory, class_name, split) for class_name in class_names]
    for path, class_lines in zip(paths, lines.values(), strict=True):
        path.write_text("".join(class_lines), encoding="utf-8")
    return paths


def _read_lines(path: Path) -> list[tuple]:
    """The lines of one file as (image_id, score, xmin, ymin, xmax, ymax); blank lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "give the folder that holds one result file for each "
                         "class, empty for a class without detections") from error
    return [_parse_line(line, path, number) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _parse_line(line: str, path: Path, number: int) -> tuple:
    image_id, *fields = line.split()
    try:
        score, xmin, ymin, xmax, ymax = map(float, fields)
        if not all(map(math.isfinite, (score, xmin, ymin, xmax, ymax))):
            raise ValueError("a number is not finite")
    except ValueError as error:
        raise InputError(f"{path}, line {number}", f"{line.strip()!r} is not a detection ({error})",
                         "write 'image_id score xmin ymin xmax ymax'") from None
    return image_id, score, xmin, ymin, xmax, ymax
