"""Detections as a COCO results file, and the function that reads detections of either format.

A COCO results file is a JSON list of `{"image_id", "category_id", "bbox", "score"}`.  `bbox` is x, y, width and height
in pixels, 0-based.

COCO's own tools know images and categories by the ids of an annotation file.  Examples and classes have no such ids, so
`COCOIds` holds them, by one of two rules:

- Without an annotation file, an image id of digits alone is that whole number, and any other image id is itself, a
  string: "000042" is 42, and "2007_000027" stays.  If two images would get the same number, all stay strings.  The
  category of class i is i.
- With an annotation file, images are found in it by the names of their files, or else by their ids, and categories by
  the names of the classes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_frcnn.data.example import Example
from keras_frcnn.evaluation.detections.record import ImageDetections, check_record, check_records, read_voc_results
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json, write_atomically

_ROW = 'write {"image_id": ..., "category_id": ..., "bbox": [x, y, width, height], "score": ...}'


class COCOIds(NamedTuple):
    """The ids of a data set in COCO's files."""

    images: dict[str, int | str]  # image id of the example -> its id there
    categories: dict[int, int]  # class, from 1 -> id of its category there


def own_ids(image_ids: Sequence[str], class_names: Sequence[str]) -> COCOIds:
    """The ids without an annotation file."""
    images = {image_id: own_image_id(image_id) for image_id in image_ids}
    if len(set(images.values())) < len(images):
        images = {image_id: image_id for image_id in image_ids}
    return COCOIds(images, {number: number for number in range(1, len(class_names) + 1)})


def own_image_id(image_id: str) -> int | str:
    """An image id of ASCII digits alone is that whole number; any other is itself."""
    return int(image_id) if image_id.isascii() and image_id.isdecimal() else image_id


def annotation_ids(path: str | Path, examples: Iterable[Example], class_names: Sequence[str]) -> COCOIds:
    """The ids of a COCO annotation file.

    Raises:
      InputError: the file cannot be read, or lacks an image of the examples or the category of a class.
    """
    values = _load(path)
    try:
        categories = {entry["name"]: int(entry["id"]) for entry in values["categories"]}
        rows = [(Path(entry["file_name"]).name, entry["id"]) for entry in values["images"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problem = f"is not a COCO annotation file ({type(error).__name__}: {error})"
        raise InputError(path, problem, 'its "images" need id and file_name, its "categories" id and name') from None
    missing = [name for name in class_names if name not in categories]
    if missing:
        raise InputError(path, f"has no category {missing[0]!r}", "use the annotation file of this data set")

    repeated = {name for name, count in Counter(name for name, _ in rows).items() if count > 1}
    by_file = {name: number for name, number in rows if name not in repeated}
    by_id = {str(number): number for _, number in rows}
    images = {}
    for example in examples:
        number = by_file.get(Path(example.image_path).name, by_id.get(example.image_id))
        if number is None:
            problem = f"has no image {example.image_id!r}, neither by the name of its file nor by its id"
            raise InputError(path, problem, "use the annotation file of this split")
        images[example.image_id] = number
    return COCOIds(images, {place: categories[name] for place, name in enumerate(class_names, start=1)})


def coco_row(image_id: int | str, category_id: int, box: Sequence[float], score: float) -> dict[str, Any]:
    """One detection of a COCO results file; `box` is (ymin, xmin, ymax, xmax) in pixels."""
    ymin, xmin, ymax, xmax = box
    corner_and_size = [xmin, ymin, xmax - xmin, ymax - ymin]
    return {"image_id": image_id, "category_id": category_id, "bbox": corner_and_size, "score": score}


def write_coco_results(
    path: str | Path, detections: Iterable[ImageDetections], class_names: Sequence[str], ids: COCOIds
) -> None:
    """Write a COCO results file, with all digits of each number and one detection a line.

    Args:
      path: the file; its folder is created if necessary.
      detections: one record per image, each of an image in `ids`.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      ids: the ids to write.

    Raises:
      InputError: as in `check_record`.
    """

    def rows() -> Iterator[str]:
        for record in detections:
            check_record(record, len(class_names))
            boxes = np.asarray(record.boxes, np.float64).reshape(-1, 4)
            image_id = ids.images[record.image_id]
            for box, number, score in zip(boxes.tolist(), record.classes, record.scores, strict=True):
                yield json.dumps(coco_row(image_id, ids.categories[int(number)], box, float(score)))

    def write(temporary: Path) -> None:  # a row at a time: there may be more than fit into memory
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("[")
            for place, row in enumerate(rows()):
                file.write(f"{',' if place else ''}\n{row}")
            file.write("\n]\n")

    write_atomically(path, write)


def read_coco_results(path: str | Path, class_names: Sequence[str], ids: COCOIds) -> list[ImageDetections]:
    """Read a COCO results file.

    The file may also be an object with a list of `annotations`, as some tools write it.  If it has `categories`, their
    names say which class an id is.  An image may be named by its id in `ids` or by the image id of the example.

    Args:
      path: the file.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      ids: the ids that the file uses.

    Returns:
      One record for each image in `ids`, in this order; boxes and scores are float64.  The detections of an image keep
      the order of the file, because this order ranks detections of equal score.

    Raises:
      InputError: the file cannot be read, or a row is not a detection in an image of `ids`.
    """
    values = _load(path)
    rows = values.get("annotations") if isinstance(values, dict) else values
    if not isinstance(rows, list):
        raise InputError(path, "no list of detections", f"give a COCO results file: in a list, {_ROW}")
    classes = {category: number for number, category in ids.categories.items()}
    if isinstance(values, dict) and "categories" in values:
        classes = _named_classes(path, values["categories"], class_names)
    images: dict[int | str, str] = {image_id: image_id for image_id in ids.images}
    images |= {number: image_id for image_id, number in ids.images.items()}

    by_image: dict[str, list[tuple[int, float, list[float]]]] = {image_id: [] for image_id in ids.images}
    for place, row in enumerate(rows, start=1):
        image_id, detection = _parse_row(row, f"{path}, detection {place}", images, classes)
        by_image[image_id].append(detection)
    return [_record(image_id, found) for image_id, found in by_image.items()]


def read_detections(path: str | Path, class_names: Sequence[str], ids: COCOIds) -> list[ImageDetections]:
    """Read detections: a COCO results file, `NAME.json`, or a folder of VOC result files, `comp4_det_SPLIT_CLASS.txt`.

    Args:
      path: the file or folder.
      class_names: the classes without background; class i is `class_names[i - 1]`.
      ids: the images, and the ids that a COCO results file uses.

    Returns:
      One record for each image in `ids`, in this order.

    Raises:
      InputError: the path is neither, detections belong to another image, or as in `read_coco_results` and
        `read_voc_results`.
    """
    path = Path(path)
    if path.is_dir():
        records = read_voc_results(path, class_names, _split(path, class_names))
        check_records(records, ids.images, len(class_names), f"{path}, ")
        found = {record.image_id: record for record in records}
        return [found.get(image_id, _record(image_id, ())) for image_id in ids.images]
    if path.suffix.lower() != ".json":
        fix = "give a COCO results file NAME.json, or a folder of VOC's comp4_det_SPLIT_CLASS.txt"
        raise InputError(path, "neither a .json file nor a folder", fix)
    return read_coco_results(path, class_names, ids)


def _split(folder: Path, class_names: Sequence[str]) -> str:
    """The split in the names of the VOC result files of a folder."""
    names = [path.name for path in folder.glob("comp4_det_*.txt")]
    splits = [
        {name[len("comp4_det_") : -len(f"_{class_name}.txt")] for name in names if name.endswith(f"_{class_name}.txt")}
        for class_name in class_names
    ]
    common = set.intersection(*splits)
    if len(common) == 1:
        return common.pop()
    if common:
        raise InputError(folder, f"files of several splits: {', '.join(sorted(common))}", "keep those of one split")
    missing = next((name for name, found in zip(class_names, splits, strict=True) if not found), None)
    problem = "no split has a file for every class" if missing is None else f"no comp4_det_SPLIT_{missing}.txt"
    raise InputError(folder, problem, "add one file per class; the file of a class without detections is empty")


def _load(path: str | Path) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise InputError(path, f"not JSON ({error})", "correct the file") from error


def _named_classes(path: str | Path, categories: Any, class_names: Sequence[str]) -> dict[int, int]:
    """Category id -> class, by the names in a results file."""
    numbers = {name: number for number, name in enumerate(class_names, start=1)}
    try:
        return {int(entry["id"]): numbers[entry["name"]] for entry in categories if entry["name"] in numbers}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{path}, field categories", "an entry has no id or no name", "give each both") from None


def _parse_row(
    row: Any, where: str, images: Mapping[int | str, str], classes: Mapping[int, int]
) -> tuple[str, tuple[int, float, list[float]]]:
    """One detection as image id of the example and (class, score, [ymin, xmin, ymax, xmax])."""
    try:
        image, category = row["image_id"], row["category_id"]
        left, top, width, height = (float(number) for number in row["bbox"])
        score = float(row["score"])
        known = image in images, category in classes
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(where, f"not a detection ({type(error).__name__}: {error})", _ROW) from None
    if not known[0]:
        fix = "use the detections of this split, or the annotation file that they were made with"
        raise InputError(where, f"image_id {image!r} is not in the evaluated split", fix)
    if not known[1]:
        ids = ", ".join(map(str, list(classes)[:5])) + (", ..." if len(classes) > 5 else "")
        fix = f"use the ids {ids}, or give the annotation file whose ids the detections use"
        raise InputError(where, f"category_id {category!r} is not the id of a class", fix)
    if not np.all(np.isfinite([left, top, width, height, score])):
        raise InputError(where, "a number is not finite", "check the tool that wrote it")
    return images[image], (classes[category], score, [top, left, top + height, left + width])


def _record(image_id: str, found: Sequence[tuple[int, float, list[float]]]) -> ImageDetections:
    return ImageDetections(
        image_id,
        boxes=np.array([box for _, _, box in found]).reshape(-1, 4),
        classes=np.array([number for number, _, _ in found], np.int32),
        scores=np.array([score for _, score, _ in found], np.float64),
    )
