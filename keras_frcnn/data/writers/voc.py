"""Write a data set as a PASCAL VOC tree.

    Annotations/NAME.xml, JPEGImages/NAME.jpg, ImageSets/Main/SPLIT.txt

Boxes are in pixels, 1-based with inclusive ends, with decimals where they are not whole pixels.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.data.sources.voc.xml import continuous_corners
from keras_frcnn.data.writers.losses import Loss, Losses, count_exif
from keras_frcnn.data.writers.naming import all_class_names, place_picture, safe_names, safe_splits
from keras_frcnn.facts.errors import InputError

CROWD = "crowd regions: written as difficult objects"
AREAS = "areas that are not those of the boxes: left out"
THIN = "boxes of at most one pixel: left out, VOC counts them as boxes without area"
ROUNDED = "boxes that begin within a millionth of a pixel of the border: changed in the last bits"
FILE_NAME = "file names with characters that XML cannot hold: replaced by _ in the annotations"
CLASSES = "order of the classes, and classes without objects: give --class-names when you read the data"

_NOT_IN_XML = re.compile("[^ -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # control characters and surrogates


def write(datasets: Mapping[str, Dataset], out: Path, link: bool) -> list[Loss]:
    """Write the splits into the empty folder `out`; see `table.py`.

    Raises:
      InputError: XML cannot hold a class name.
    """
    losses = Losses()
    names = safe_names(datasets, losses)
    sets = safe_splits(datasets)
    class_names = all_class_names(datasets.values())
    check_class_names(class_names, "rename it with --class-map")
    count_exif(datasets.values(), True, losses)
    annotations, pictures, image_sets = (out / part for part in ("Annotations", "JPEGImages", "ImageSets/Main"))
    for folder in (annotations, pictures, image_sets):
        folder.mkdir(parents=True)
    for split, dataset in datasets.items():
        for example, name in zip(dataset.examples, names[split], strict=True):
            file = place_picture(example.image_path, pictures, name, link)
            xml = annotation(example, file, dataset.class_names, losses)
            (annotations / f"{name}.xml").write_bytes(xml)
        (image_sets / f"{sets[split]}.txt").write_text("".join(f"{name}\n" for name in names[split]), "utf-8")
    used = {
        dataset.class_names[i - 1] for dataset in datasets.values() for one in dataset.examples for i in one.classes
    }
    if tuple(sorted(used)) != class_names:
        losses.count(CLASSES, len(class_names))
    return losses.listed()


def annotation(example: Example, file: str, class_names: tuple[str, ...], losses: Losses) -> bytes:
    """The annotation of one picture, as XML.

    Args:
      example: the picture and its objects.
      file: the name of the picture's file.
      class_names: without background.
      losses: counts what XML cannot hold.
    """
    root = ElementTree.Element("annotation")
    written = _NOT_IN_XML.sub("_", file)
    losses.count(FILE_NAME, int(written != file))
    ElementTree.SubElement(root, "filename").text = written
    _add(ElementTree.SubElement(root, "size"), width=example.width, height=example.height, depth=3)
    crowd = example.is_crowd
    for row, box in enumerate(example.boxes.astype(np.float64)):
        y0, x0, y1, x1 = box.tolist()
        sides = (x0 + 1, y0 + 1, x1, y1)
        read = continuous_corners(*sides)
        if read is None:
            losses.count(THIN)
            continue
        losses.count(ROUNDED, int((np.array(read).astype(np.float32) != example.boxes[row]).any()))
        losses.count(CROWD, int(crowd[row]))
        losses.count(AREAS, int(example.areas is not None and example.areas[row] != np.prod(box[2:] - box[:2])))
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = class_names[int(example.classes[row]) - 1]
        _add(element, truncated=0, difficult=int(example.difficult[row]))
        xmin, ymin, xmax, ymax = sides
        _add(ElementTree.SubElement(element, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ElementTree.indent(root)
    return ElementTree.tostring(root)


def _add(element: ElementTree.Element, **values: float) -> None:
    """Add a child element for each number, without decimals if it is whole."""
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(int(value)) if value == int(value) else repr(value)


def check_class_names(names: Iterable[str], fix: str) -> None:
    """Raise InputError, with `fix`, for a name that comes back as another one, e.g. with a control character."""
    for name in names:
        element = ElementTree.Element("name")
        element.text = name
        try:
            same = (ElementTree.fromstring(ElementTree.tostring(element)).text or "").strip() == name
        except (ElementTree.ParseError, UnicodeError):
            same = False
        if not same:
            raise InputError(f"class {name!r}", "the name cannot be written as XML", fix)
