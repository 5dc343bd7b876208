"""The detections and proposals of one image, as the evaluations take them, and the result files of PASCAL VOC.

The PASCAL VOC development kit stores detections in one text file per class, `comp4_det_test_CLASS.txt`.  Each line is
`image_id score xmin ymin xmax ymax`, in pixels, 1-based with inclusive ends.  Many published detectors provide their
detections in this format.

Axes: D detections of one image.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_text


class ImageDetections(NamedTuple):
    """The detections of one image, without padding."""

    image_id: str
    boxes: np.ndarray  # (D, 4) yxyx, pixels of the picture before resizing, 0-based continuous corners
    classes: np.ndarray  # (D,) int, 1..len(class_names)
    scores: np.ndarray  # (D,)


def image_positions(examples: Iterable[Example]) -> dict[str, int]:
    """Image id -> position of the image in `examples`.  Raises ValueError if two of them have the same id."""
    image_ids = [example.image_id for example in examples]
    positions = {image_id: position for position, image_id in enumerate(image_ids)}
    if len(positions) != len(image_ids):
        raise ValueError("two examples have the same image_id")
    return positions


def proposals_of(image_id: str, proposals_by_image: Mapping[str, np.ndarray]) -> np.ndarray:
    """The proposals (P, 4) of an image, from those of all images by id.  Raises InputError if it has no entry."""
    if image_id not in proposals_by_image:
        fix = "compute the proposals of the whole split; pass an empty array for an image without proposals"
        raise InputError(f"proposals of image {image_id!r}", "missing", fix)
    return np.asarray(proposals_by_image[image_id]).reshape(-1, 4)


def check_record(record: ImageDetections, class_count: int) -> None:
    """Check the detections of one image.

    Without this check, two mistakes would go unnoticed: detections of class 0, left from padding, would count for no
    class, and NaN scores would sort last.

    Raises:
      InputError: the arrays have different lengths, a class is not in 1..class_count, or a number is not finite.
    """
    where = f"detections of image {record.image_id!r}"
    boxes, classes, scores = (np.asarray(field) for field in record[1:])
    if not boxes.size == 4 * classes.size == 4 * scores.size:
        problem = f"different lengths: {boxes.size / 4:g} boxes, {classes.size} classes and {scores.size} scores"
        raise InputError(where, problem, "pass one box, class and score for each detection")
    if not np.all((classes >= 1) & (classes <= class_count)):
        fix = "remove the padding, and number the classes as in the data set"
        raise InputError(where, f"a class is not in 1..{class_count}", fix)
    if not (np.all(np.isfinite(boxes)) and np.all(np.isfinite(scores))):
        raise InputError(where, "a box or score is not finite", "check whether the training diverged")


def check_records(
    records: Iterable[ImageDetections], image_ids: Collection[str], class_count: int, source: str = ""
) -> None:
    """Check the detections of a data set.

    Args:
      records: the detections, at most one record per image.
      image_ids: the images of the data set.
      class_count: the number of classes without background.
      source: begins a message, such as the name of the file.

    Raises:
      InputError: detections belong to an unknown image, two records belong to the same image, or as in `check_record`.
    """
    seen = set()
    for record in records:
        check_record(record, class_count)
        where = f"{source}detections of image {record.image_id!r}"
        if record.image_id not in image_ids:
            fix = "use the detections and the annotations of the same split"
            raise InputError(where, "the image is not in the evaluated split", fix)
        if record.image_id in seen:
            raise InputError(where, "the image has two records", "put all its detections into one record")
        seen.add(record.image_id)


def voc_results_path(directory: str | Path, class_name: str, split: str = "test") -> Path:
    """The result file of one class.  In the kit, `comp4` stands for detectors trained on any data.

    Raises:
      InputError: the class name contains a `/`, so that it cannot be part of a file name.
    """
    if "/" in class_name:
        problem = "a VOC result file cannot be named after a class with '/' in its name"
        raise InputError(f"class name {class_name!r}", problem, "rename the class")
    return Path(directory) / f"comp4_det_{split}_{class_name}.txt"


def read_voc_results(directory: str | Path, class_names: Sequence[str], split: str = "test") -> list[ImageDetections]:
    """Read the result files of all classes.

    Args:
      directory: folder of the files.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      split: the split in the names of the files.

    Returns:
      One record for each image that occurs in any file, sorted by image id; boxes are float64.  The detections of one
      image and class keep the order of their lines, because this order ranks detections of equal score.

    Raises:
      InputError: a file cannot be read, or a line is not `image_id score xmin ymin xmax ymax` with finite numbers.
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
    scores, xmin, ymin, xmax, ymax = np.asarray(values, np.float64)[order].T
    boxes = np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=1)
    per_image = (np.split(field, starts) for field in (boxes, np.asarray(classes, np.int32)[order], scores))
    return [ImageDetections(str(image_id), *fields) for image_id, *fields in zip(ids, *per_image, strict=True)]


def write_voc_results(
    directory: str | Path, detections: Iterable[ImageDetections], class_names: Sequence[str], split: str = "test"
) -> list[Path]:
    """Write one result file per class; the file of a class without detections is empty.

    Numbers are written with all their digits, so that the files give the same order and the same AP as the detections.
    Many tools round to one decimal, which moves some boxes across the IoU threshold and makes some scores equal.

    Args:
      directory: folder for the files; it is created if necessary.
      detections: one record per image.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      split: the split in the names of the files.

    Returns:
      The paths of the files, in the order of the classes.

    Raises:
      InputError: an image id contains white space, which separates the fields in the file; a class name contains a
        `/`; or as in `check_record`.
    """
    lines: dict[int, list[str]] = {class_index: [] for class_index in range(1, len(class_names) + 1)}
    for record in detections:
        check_record(record, len(class_names))
        image_id, boxes, classes, scores = record
        if image_id.split() != [image_id]:
            problem = "contains white space, which separates the fields of a VOC result file"
            raise InputError(f"image id {image_id!r}", problem, "rename the image")
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4) + (1, 1, 0, 0)
        for (ymin, xmin, ymax, xmax), class_index, score in zip(boxes.tolist(), classes, scores, strict=True):
            lines[int(class_index)].append(f"{image_id} {float(score)!r} {xmin!r} {ymin!r} {xmax!r} {ymax!r}\n")

    Path(directory).mkdir(parents=True, exist_ok=True)
    paths = [voc_results_path(directory, class_name, split) for class_name in class_names]
    for path, class_lines in zip(paths, lines.values(), strict=True):
        path.write_text("".join(class_lines), encoding="utf-8")
    return paths


def _read_lines(path: Path) -> list[tuple[str, float, float, float, float, float]]:
    """The lines of one file as (image_id, score, xmin, ymin, xmax, ymax), without blank lines."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        fix = "use a folder with one result file per class; the file of a class without detections is empty"
        raise InputError(path, f"cannot be read ({error})", fix) from error
    return [_parse_line(line, path, number) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _parse_line(line: str, path: Path, number: int) -> tuple[str, float, float, float, float, float]:
    """One line as (image_id, score, xmin, ymin, xmax, ymax); `path` and `number` are its place, for messages."""
    image_id, *fields = line.split()
    try:
        score, xmin, ymin, xmax, ymax = map(float, fields)
        if not all(map(math.isfinite, (score, xmin, ymin, xmax, ymax))):
            raise ValueError("a number is not finite")
    except ValueError as error:
        problem = f"{line.strip()!r} is not a detection ({error})"
        raise InputError(f"{path}, line {number}", problem, "write 'image_id score xmin ymin xmax ymax'") from None
    return image_id, score, xmin, ymin, xmax, ymax
