"""The files that a detection in many pictures leaves behind, besides its record.

Some are written picture by picture: drawn pictures, and VOC annotations to correct by hand.  Others are made from the
whole record at the end: a COCO results file and a CSV table.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from keras_frcnn.api.bulk.inputs import PictureFile
from keras_frcnn.api.bulk.record import read_lines
from keras_frcnn.api.result import Result
from keras_frcnn.data.example import Example
from keras_frcnn.data.writers.losses import Losses
from keras_frcnn.data.writers.voc import annotation
from keras_frcnn.evaluation.detections.coco_results import own_ids, write_coco_results
from keras_frcnn.evaluation.detections.record import ImageDetections
from keras_frcnn.facts.files import write_atomically

COLUMNS = ("image", "class", "score", "ymin", "xmin", "ymax", "xmax")


def draw(result: Result, target: Path) -> None:
    """Write the picture with its detections as a PNG.  Raises InputError if it cannot be read again, and OSError."""
    drawn = result.draw()
    write_atomically(target, lambda temporary: drawn.save(temporary))


def write_voc(result: Result, picture: PictureFile, folder: Path, losses: Losses) -> None:
    """Write the detections as the VOC annotation `PLACE.xml`.  Raises OSError."""
    example = Example(
        image_id=picture.place,
        image_path=picture.path,
        height=result.height,
        width=result.width,
        boxes=result.boxes,
        classes=result.class_ids,
        difficult=np.zeros(len(result), bool),
    )
    xml = annotation(example, Path(picture.path).name, result.class_names, losses)
    write_atomically(folder / f"{picture.place}.xml", lambda temporary: temporary.write_bytes(xml))


def write_coco(record: Path, target: Path, pictures: Sequence[PictureFile], class_names: Sequence[str]) -> None:
    """Write the record as a COCO results file.  An image id is the picture's place, as a number if it is one.

    The place of a picture of an earlier command, which this one does not name, is its path without suffix.
    """
    places = {picture.path: picture.place for picture in pictures}
    for line in _finished(record):
        places.setdefault(line["image"], PurePath(line["image"]).with_suffix("").as_posix())
    numbers = {name: number for number, name in enumerate(class_names, start=1)}

    def detections() -> Iterator[ImageDetections]:
        for line in _finished(record):
            found = line["detections"]
            yield ImageDetections(
                places[line["image"]],
                np.array([one["box"] for one in found]).reshape(-1, 4),
                np.array([numbers[one["class"]] for one in found], np.int32),
                np.array([one["score"] for one in found], np.float64),
            )

    write_coco_results(target, detections(), class_names, own_ids(list(places.values()), class_names))


def write_csv(record: Path, target: Path, pictures: Sequence[PictureFile], class_names: Sequence[str]) -> None:
    """Write the record as a table with one detection a row, boxes in pixels with continuous corners."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for line in _finished(record):
                table.writerows((line["image"], one["class"], one["score"], *one["box"]) for one in line["detections"])

    write_atomically(target, write)


def _finished(record: Path) -> Iterator[dict[str, Any]]:
    return (line for line in read_lines(record) if "error" not in line)


# Made from the record: the name of the file, and the function that writes it.
Convert = Callable[[Path, Path, Sequence[PictureFile], Sequence[str]], None]
FROM_RECORD: Mapping[str, tuple[str, Convert]] = {
    "coco": ("detections.coco.json", write_coco),
    "csv": ("detections.csv", write_csv),
}
