"""Write a data set in the format and the folders of COCO.

    annotations/instances_SPLIT.json, SPLIT/NAME.jpg

Boxes, areas and crowd regions keep every bit.  The field `ignore` marks difficult objects, as in the COCO files of
PASCAL VOC that came with Fast R-CNN.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.writers.losses import Loss, Losses, count_exif
from keras_frcnn.data.writers.naming import all_class_names, place_picture, safe_names, safe_splits

NUMBERED = "image ids that are not whole numbers: numbered from 1, file names keep the id"


def write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]:
    """Write the splits into the empty folder `out`; see `table.py`."""
    losses = Losses()
    names = safe_names(datasets, losses)
    folders = safe_splits(datasets)
    image_ids = _image_ids(datasets, losses)
    class_names = all_class_names(datasets.values())
    count_exif(datasets.values(), True, losses)
    (out / "annotations").mkdir()
    for split, dataset in datasets.items():
        folder = out / folders[split]
        folder.mkdir()
        files = [
            place_picture(one.image_path, folder, name, link)
            for one, name in zip(dataset.examples, names[split], strict=True)
        ]
        categories = [
            {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(class_names, start=1)
        ]
        numbers = [class_names.index(name) + 1 for name in dataset.class_names]
        with (out / "annotations" / f"instances_{folders[split]}.json").open("w", encoding="utf-8") as text:
            text.write('{"info": {}, "licenses": [],\n"categories": ')
            _write_list(categories, text)
            text.write(',\n"images": ')
            _write_list(_images(dataset.examples, image_ids[split], files), text)
            text.write(',\n"annotations": ')
            _write_list(_annotations(dataset.examples, image_ids[split], numbers), text)
            text.write("}\n")
    return losses.listed()


def _write_list(elements: Iterable[dict[str, Any]], text: TextIO) -> None:
    """Write a JSON list with one element a line."""
    text.write("[")
    for index, element in enumerate(elements):
        text.write((",\n" if index else "\n") + json.dumps(element))
    text.write("]")


def _image_ids(datasets: Mapping[str, Dataset], losses: Losses) -> dict[str, list[int]]:
    """The id of each picture by split: its own if all are whole numbers that differ, else numbers from 1."""
    written = [one.image_id for dataset in datasets.values() for one in dataset.examples]
    numbers: Iterable[int]
    if len(set(written)) == len(written) and all(_is_whole(image_id) for image_id in written):
        numbers = [int(image_id) for image_id in written]
    else:
        numbers = range(1, len(written) + 1)
        losses.count(NUMBERED, sum(one != str(number) for one, number in zip(written, numbers, strict=True)))
    remaining = iter(numbers)
    return {split: [next(remaining) for _ in dataset.examples] for split, dataset in datasets.items()}


def _is_whole(image_id: str) -> bool:
    """Whether an image id is a whole number of at most 15 digits in its usual spelling."""
    return image_id.isascii() and image_id.isdigit() and len(image_id) <= 15 and str(int(image_id)) == image_id


def _images(examples: Iterable[Example], image_ids: Iterable[int], files: Iterable[str]) -> Iterator[dict[str, Any]]:
    for example, image_id, file in zip(examples, image_ids, files, strict=True):
        yield {"id": image_id, "file_name": file, "height": example.height, "width": example.width}


def _annotations(examples: Iterable[Example], image_ids: Iterable[int], numbers: list[int]) -> Iterator[dict[str, Any]]:
    """One annotation for each object; `numbers` are the category ids of the split's classes."""
    annotation_id = 0
    for example, image_id in zip(examples, image_ids, strict=True):
        # In float64, x + width gives the far side again to the last bit of float32.
        corners = example.boxes.astype(np.float64)
        sizes = corners[:, 2:] - corners[:, :2]
        areas = np.prod(sizes, axis=1) if example.areas is None else example.areas
        crowd = example.is_crowd
        for row, (y, x, _, _) in enumerate(corners.tolist()):
            annotation_id += 1
            height, width = sizes[row].tolist()
            fields: dict[str, Any] = {
                "id": annotation_id,
                "image_id": image_id,
                "category_id": numbers[int(example.classes[row]) - 1],
                "bbox": [x, y, width, height],
                "area": float(areas[row]),
                "iscrowd": int(crowd[row]),
            }
            if example.difficult[row] and not crowd[row]:
                fields["ignore"] = 1
            yield fields
