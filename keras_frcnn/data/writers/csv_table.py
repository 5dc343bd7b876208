"""Write a data set as CSV files in TensorFlow's dialect, each beside its pictures.

    SPLIT/_annotations.csv, SPLIT/NAME.jpg, classes.csv

The dialect `filename,width,height,class,xmin,ymin,xmax,ymax` is the one with a header, and states the sizes of the
pictures.  It counts pixels from 1 with inclusive ends.  `classes.csv` gives the order of the classes.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.csv.columns import TENSORFLOW
from keras_frcnn.data.sources.voc.xml import continuous_corners
from keras_frcnn.data.writers.losses import Loss, Losses, count_exif
from keras_frcnn.data.writers.naming import all_class_names, place_picture, safe_names, safe_splits

DIFFICULT = "difficult flags: written as ordinary objects"
CROWD = "crowd regions: left out"
AREAS = "areas that are not those of the boxes: left out"
THIN = "boxes of at most one pixel: left out, they would count as boxes without area"
ROUNDED = "boxes that begin within a millionth of a pixel of the border: changed in the last bits"


def write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]:
    """Write the splits into the empty folder `out`; see `table.py`."""
    losses = Losses()
    names = safe_names(datasets, losses)
    folders = safe_splits(datasets)
    count_exif(datasets.values(), True, losses)
    for split, dataset in datasets.items():
        folder = out / folders[split]
        folder.mkdir()
        rows: list[tuple] = []
        for example, name in zip(dataset.examples, names[split], strict=True):
            file = place_picture(example.image_path, folder, name, link)
            rows += _rows(example, file, dataset.class_names, losses)
        _write_table(folder / "_annotations.csv", TENSORFLOW, rows)
    classes = ((name, number) for number, name in enumerate(all_class_names(datasets.values())))
    _write_table(out / "classes.csv", None, classes)
    return losses.listed()


def _rows(example: Example, file: str, class_names: tuple[str, ...], losses: Losses) -> Iterator[tuple]:
    """The rows of one picture; one with empty fields if none of its objects can be written."""
    start = (file, example.width, example.height)
    crowd = example.is_crowd
    written = False
    for row, box in enumerate(example.boxes.astype(np.float64)):
        y0, x0, y1, x1 = box.tolist()
        sides = (x0 + 1, y0 + 1, x1, y1)
        read = continuous_corners(*sides)
        if crowd[row] or read is None:
            losses.count(CROWD if crowd[row] else THIN)
            continue
        losses.count(ROUNDED, int((np.array(read).astype(np.float32) != example.boxes[row]).any()))
        losses.count(DIFFICULT, int(example.difficult[row]))
        losses.count(AREAS, int(example.areas is not None and example.areas[row] != np.prod(box[2:] - box[:2])))
        yield (*start, class_names[int(example.classes[row]) - 1], *(_whole(side) for side in sides))
        written = True
    if not written:
        yield (*start, *[None] * 5)


def _whole(value: float) -> float:
    """The number as an int if it is one, which is written without a point."""
    return int(value) if value.is_integer() else value


def _write_table(file: Path, header: Iterable[str] | None, rows: Iterable[tuple]) -> None:
    """Write a CSV file.  Names are quoted, so that commas, quotes, spaces and line breaks in them survive."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        if header is not None:
            csv.writer(stream, lineterminator="\n").writerow(header)
        csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
