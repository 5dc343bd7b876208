"""CSV files in TensorFlow's dialect: `SPLIT.csv` with one object per row, the pictures beside it, and `classes.csv`.

The dialect `filename,width,height,class,xmin,ymin,xmax,ymax` is the one with a header, and states the sizes of the
pictures.  It counts pixels from 1 with inclusive ends.
"""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.annotations import fit_box
from keras_frcnn.data.sources.csv_columns import TENSORFLOW
from keras_frcnn.data.sources.voc_xml import continuous_corners
from keras_frcnn.data.writers.pictures import copy_pictures
from keras_frcnn.facts.files import write_atomically

DIFFICULT = "difficult objects: CSV has no such mark, they become plain objects"
CROWD = "crowd regions: CSV has no such mark, they become plain objects"
AREAS = "areas of outlines: CSV has no areas, those of the boxes take their place"
INEXACT = "boxes that CSV cannot hold exactly: at most one pixel wide or high, or very near to the border"


def write(datasets: Mapping[str, Dataset], out: Path) -> Counter[str]:
    """Write each split into the folder `out`, for `csv:OUT`.

    Args:
      datasets: the splits by name.  They have the same classes.
      out: the folder.

    Returns:
      What CSV cannot hold: how often each kind occurs.

    Raises:
      OSError: a file cannot be read or written.
    """
    losses: Counter[str] = Counter()
    names = copy_pictures(datasets, out, losses)
    for split, dataset in datasets.items():
        rows = (_rows(example, names[split], dataset.class_names, losses) for example in dataset.examples)
        _write_table(out / f"{split}.csv", TENSORFLOW, itertools.chain.from_iterable(rows))
    class_names = next(iter(datasets.values())).class_names
    _write_table(out / "classes.csv", None, ((name, number) for number, name in enumerate(class_names)))
    return +losses


def _rows(
    example: Example, names: Mapping[str, str], class_names: tuple[str, ...], losses: Counter[str]
) -> Iterable[tuple]:
    """The rows of one picture."""
    start = (names[example.image_id], example.width, example.height)
    if not len(example.boxes):
        yield (*start, *[None] * 5)
    crowd = np.zeros(len(example.boxes), bool) if example.crowd is None else example.crowd
    losses[CROWD] += int(crowd.sum())
    losses[DIFFICULT] += int((example.difficult & ~crowd).sum())
    losses[AREAS] += 0 if example.areas is None else len(example.areas)
    for box, number in zip(example.boxes, example.classes, strict=True):
        y0, x0, y1, x1 = box.tolist()
        numbers = tuple(_whole(value) for value in (x0 + 1.0, y0 + 1.0, x1, y1))
        back, _ = fit_box(continuous_corners(*numbers), example.height, example.width)
        losses[INEXACT] += back is None or not np.array_equal(back, box)
        yield (*start, class_names[number - 1], *numbers)


def _whole(value: float) -> float:
    """The number as an int if it is one, which is written without a point."""
    return int(value) if value.is_integer() else value


def _write_table(file: Path, header: Iterable[str] | None, rows: Iterable[tuple]) -> None:
    """Write a CSV file.  Names are quoted, so that commas, quotes, spaces and line breaks in them survive."""

    def write_rows(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            if header is not None:
                csv.writer(stream, lineterminator="\n").writerow(header)
            csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)

    write_atomically(file, write_rows)
