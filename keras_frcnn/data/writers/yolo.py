"""Write a data set in the format and the folders of Ultralytics YOLO.

    data.yaml, images/SPLIT/NAME.jpg, labels/SPLIT/NAME.txt

Boxes are fractions of the picture's sides with nine decimals, which hold 1/1024 pixel of any picture.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.shared.fractions import rounded
from keras_frcnn.data.writers.losses import Loss, Losses, count_exif
from keras_frcnn.data.writers.naming import all_class_names, place_picture, safe_names, safe_splits
from keras_frcnn.facts.errors import InputError

DIFFICULT = "difficult flags: written as ordinary objects"
CROWD = "crowd regions: left out"
AREAS = "areas that are not those of the boxes: left out"
ROUNDED = "boxes in smaller parts of a pixel: rounded to 1/1024 pixel"
THIN = "boxes thinner than 1/1024 pixel: left out"


def write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]:
    """Write the splits into the empty folder `out`; see `table.py`.

    Raises:
      InputError: YAML cannot hold a class name.
    """
    losses = Losses()
    names = safe_names(datasets, losses)
    folders = safe_splits(datasets)
    class_names = all_class_names(datasets.values())
    for name in class_names:
        _check_name(name)
    count_exif(datasets.values(), False, losses)
    for split, dataset in datasets.items():
        pictures, labels = out / "images" / folders[split], out / "labels" / folders[split]
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        numbers = [class_names.index(name) for name in dataset.class_names]
        for example, name in zip(dataset.examples, names[split], strict=True):
            place_picture(example.image_path, pictures, name, link)
            (labels / f"{name}.txt").write_text(_rows(example, numbers, losses), encoding="utf-8")
    fields = {folder: f"images/{folder}" for folder in folders.values()}
    (out / "data.yaml").write_text(_as_yaml(fields) + _as_yaml({"names": dict(enumerate(class_names))}), "utf-8")
    return losses.listed()


def _rows(example: Example, numbers: Sequence[int], losses: Losses) -> str:
    """The label file of one picture; `numbers` are the YOLO numbers of the split's classes."""
    rows = []
    crowd = example.is_crowd
    sides = np.array([example.height, example.width], np.float64)
    for row, exact in enumerate(example.boxes.astype(np.float64)):
        if crowd[row]:
            losses.count(CROWD)
            continue
        box = rounded(exact)
        if (box[:2] >= box[2:]).any():
            losses.count(THIN)
            continue
        losses.count(ROUNDED, int((box != exact).any()))
        losses.count(DIFFICULT, int(example.difficult[row]))
        losses.count(AREAS, int(example.areas is not None and example.areas[row] != np.prod(exact[2:] - exact[:2])))
        y, x = (box[:2] + box[2:]) / 2 / sides
        height, width = (box[2:] - box[:2]) / sides
        rows.append(f"{numbers[int(example.classes[row]) - 1]} {x:.9f} {y:.9f} {width:.9f} {height:.9f}\n")
    return "".join(rows)


def _as_yaml(fields: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(fields), allow_unicode=True, sort_keys=False, width=float("inf"))


def _check_name(name: str) -> None:
    """Raise InputError for a class name that comes back as another one, e.g. with a control character."""
    try:
        same = yaml.load(_as_yaml({"name": name}).encode("utf-8"), Loader=yaml.BaseLoader) == {"name": name}
    except (yaml.YAMLError, UnicodeError):
        same = False
    if not same:
        raise InputError(f"class {name!r}", "the name cannot be written as YAML", "rename it with --class-map")
