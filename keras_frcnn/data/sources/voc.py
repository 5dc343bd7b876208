"""PASCAL VOC trees: image sets, XML annotations and pictures, read and checked.

A VOC tree holds `Annotations/ID.xml`, `JPEGImages/ID.jpg` and `ImageSets/Main/IMAGESET.txt`, either in the root itself
or in one folder a year (`root/VOC2007`, `root/VOC2012`).

The XML's boxes are 1-based with inclusive ends; `Example.boxes` are 0-based continuous corners, so that
x0 = xmin - 1, y0 = ymin - 1, x1 = xmax and y1 = ymax.  The arithmetic is done in float64, before anything is rounded or
cast: in unsigned integers an xmin of 0 would become 65535, the classic source of a loss that is no number.

The EXIF orientation is ignored in the whole project: boxes are in the order of the stored pixels.
"""

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.facts.errors import InputError

# The kinds of repaired faults, as `Dataset.problems` names them.
CLIPPED = "box reaches outside the picture: clipped"
NO_AREA = "box has no area: dropped"
OUTSIDE = "box lies wholly outside the picture: dropped"
WRONG_SIZE = "size in the XML is not the picture's: the picture's is used"
OTHER_PICTURE = "the XML's filename is not the picture named after the XML: the XML's filename is used"
EXIF_IGNORED = "picture has an EXIF orientation: ignored, boxes are taken in the order of the stored pixels"

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_IMAGE_FORMATS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG as some cameras write it, with a second picture behind the first
_EXIF_ORIENTATION = 0x0112


def load_voc(root, split: str, class_names=None, strict: bool = False) -> Dataset:
    """Read one split of a VOC tree.

    Args:
      root: the tree's folder.
      split: one or more terms joined with `+`, each `[YEARDIR/]IMAGESET`: `train`, or
        `VOC2007/trainval+VOC2012/trainval`.  A picture's identifier is `ID`, or `YEARDIR/ID` where the term has a year.
      class_names: the classes without background, or None to take the sorted names of all objects in the split
        (the twenty of PASCAL VOC come out in their official order).
      strict: make the first fault an error that is otherwise repaired and counted in `Dataset.problems`.  An EXIF
        orientation is counted in both ways, as it is no fault of the annotation.

    Raises:
      InputError: the tree, an image set, an annotation or a picture cannot be used; one line naming the file, the
        field and the mend.
    """
    root = Path(root)
    if class_names is not None:
        _check_class_names(class_names)
    problems = defaultdict(list)

    def note(kind: str, file: Path, field: str, mend: str):
        if strict and kind != EXIF_IGNORED:
            raise InputError(f"{file}, {field}", kind.split(":")[0], f"{mend}, or read it without strict checking")
        problems[kind].append(str(file))

    listed = _list_images(root, split)
    annotations = [_parse_xml(tree / "Annotations" / f"{name}.xml") for _, tree, name in listed]
    objects = [
        _read_objects(tree / "Annotations" / f"{name}.xml", annotation)
        for (_, tree, name), annotation in zip(listed, annotations, strict=True)
    ]
    if class_names is None:
        class_names = sorted({name for image_objects in objects for name, _, _ in image_objects})
        if not class_names:
            raise InputError(
                root, f"the split {split} holds no object to read the class names from", "give the class names"
            )
    class_index = {name: index for index, name in enumerate(class_names, start=1)}
    examples = tuple(
        _make_example(image_id, tree, name, annotation, image_objects, class_index, note)
        for (image_id, tree, name), annotation, image_objects in zip(listed, annotations, objects, strict=True)
    )
    frozen_problems = {kind: tuple(files) for kind, files in problems.items()}
    return Dataset(f"voc:{root} {split}", tuple(class_names), examples, frozen_problems)


def convert_box(xmin, ymin, xmax, ymax, height: int, width: int):
    """Convert one box of the XML, and repair it if need be.

    A box with xmin = xmax or ymin = ymax counts as one without area.  Read to the letter it is one pixel wide, but no
    object of PASCAL VOC is that small, and what annotation tools write so is a click without a drag.

    Args:
      xmin, ymin, xmax, ymax: finite floats, pixels, 1-based with inclusive ends.
      height, width: size of the picture in pixels.

    Returns:
      (box, kind): box is (4,) float32, yxyx, 0-based continuous corners, inside the picture and of positive area, or
      None if the box is dropped; kind is what was repaired (`NO_AREA`, `OUTSIDE`, `CLIPPED`), or None.
    """
    if xmax <= xmin or ymax <= ymin:
        return None, NO_AREA
    corners = np.array([ymin - 1.0, xmin - 1.0, ymax, xmax], np.float64)
    limits = np.array([height, width, height, width], np.float64)
    clipped = np.clip(corners, 0.0, limits)
    if (clipped[:2] >= clipped[2:]).any():
        return None, OUTSIDE
    box = clipped.astype(np.float32)
    if (box[:2] >= box[2:]).any():  # less than float32 can tell was left inside
        return None, NO_AREA
    return box, None if (clipped == corners).all() else CLIPPED


def _check_class_names(class_names):
    """Raise InputError unless the given classes are names, each given once."""
    if isinstance(class_names, str) or not class_names or not all(class_names):
        raise InputError("class names", f"{class_names!r} is no list of names", "give at least one name, none empty")
    if len(set(class_names)) != len(class_names):
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        raise InputError("class names", f"{', '.join(twice)} given more than once", "give each class once")


# The tree and its image sets.


def _list_images(root: Path, split: str) -> list[tuple[str, Path, str]]:
    """The split's pictures in order: (unique identifier, folder that holds Annotations and JPEGImages, file stem)."""
    listed, seen = [], {}
    for term in split.split("+"):
        year, image_set = _parse_term(split, term)
        tree = _check_tree(root, year)
        file = tree / "ImageSets" / "Main" / f"{image_set}.txt"
        for line_number, name in _read_image_set(file):
            image_id = f"{year}/{name}" if year else name
            if image_id in seen:
                raise InputError(
                    f"{file}, line {line_number}",
                    f"the picture {image_id} was listed before in {seen[image_id]}",
                    "list each picture once in a split",
                )
            seen[image_id] = f"{file}, line {line_number}"
            listed.append((image_id, tree, name))
    return listed


def _parse_term(split: str, term: str) -> tuple[str, str]:
    """Split `[YEARDIR/]IMAGESET` into (YEARDIR or "", IMAGESET)."""
    parts = term.strip().split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"split {split!r}", f"{term!r} is no image set", "write IMAGESET or YEARDIR/IMAGESET, joined with +"
        )
    return (parts[0], parts[1]) if len(parts) == 2 else ("", parts[0])


def _check_tree(root: Path, year: str) -> Path:
    """The folder that holds the three VOC folders, checked."""
    tree = root / year
    if _is_tree(tree):
        return tree
    if not root.is_dir():
        raise InputError(root, "is no folder", "give the folder of a VOC tree")
    years = sorted(path.name for path in root.iterdir() if _is_tree(path))
    if years:
        mend = f"write the split as YEARDIR/IMAGESET, where YEARDIR is one of: {', '.join(years)}"
    elif year and _is_tree(root):
        mend = "the tree has no year folders: write the split as IMAGESET alone"
    else:
        mend = "give a folder that holds Annotations, JPEGImages and ImageSets/Main, or year folders that do"
    raise InputError(tree, "is no VOC tree", mend)


def _is_tree(path: Path) -> bool:
    return all((path / part).is_dir() for part in ("Annotations", "JPEGImages", "ImageSets/Main"))


def _read_image_set(file: Path) -> list[tuple[int, str]]:
    """The names in the first column of an image-set file, with their line numbers.

    A second column, as the lists of one class have (1, 0 or -1 for that class), is not used.
    """
    if not file.is_file():
        others = ", ".join(sorted(path.stem for path in file.parent.glob("*.txt"))) or "none"
        raise InputError(file, "there is no such image set", f"write one of these in the split: {others}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "write it as UTF-8 text, one picture a line") from None
    names = [(number, line.split()[0]) for number, line in enumerate(lines, start=1) if line.strip()]
    if not names:
        raise InputError(file, "lists no picture", "list one picture a line, or choose another image set")
    for number, name in names:
        if "/" in name or "\\" in name or name in (".", ".."):  # must not lead out of the tree
            raise InputError(
                f"{file}, line {number}", f"{name!r} is a path", "write the picture's name alone, without a suffix"
            )
    return names


# One annotation.


class _DoctypeError(Exception):
    """The XML declares a document type."""


class _BuilderWithoutDoctype(ElementTree.TreeBuilder):
    """Refuses document types: VOC needs none, and entities declared in one can expand without bound."""

    def doctype(self, name, pubid, system):
        raise _DoctypeError


def _parse_xml(file: Path) -> ElementTree.Element:
    """The root element of an annotation file."""
    try:
        return ElementTree.fromstring(
            file.read_bytes(), parser=ElementTree.XMLParser(target=_BuilderWithoutDoctype())
        )
    except FileNotFoundError:
        mend = "add the annotation, or take the picture out of the image set (names there hold no spaces)"
        raise InputError(file, "there is no such annotation", mend) from None
    except _DoctypeError:
        raise InputError(file, "declares a DOCTYPE, which is not accepted", "remove the DOCTYPE") from None
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})", "make the file readable") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an unusable encoding
        raise InputError(file, f"is not well-formed XML ({error})", "write the annotation anew") from None


def _read_objects(file: Path, annotation: ElementTree.Element) -> list[tuple[str, tuple[float, ...], bool]]:
    """The annotated objects: (class name, (xmin, ymin, xmax, ymax) as in the XML, difficult).

    Only direct children are read: the `part` elements inside an object (head, hand, foot) have names and boxes too.
    """
    objects = []
    for index, element in enumerate(annotation.findall("object"), start=1):
        where = f"{file}, object {index}"
        name = (element.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{where}, object/name", "is missing or empty", "write the name of the object's class")
        difficult = element.findtext("difficult", default="0").strip()
        if difficult not in ("0", "1"):
            raise InputError(f"{where}, object/difficult", f"is {difficult!r}", "write 0 or 1, or leave it out")
        if element.find("bndbox") is None:
            raise InputError(f"{where}, object/bndbox", "is missing", "add the box, or remove the object")
        corners = tuple(
            _read_number(where, element, "object", f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
        )
        objects.append((name, corners, difficult == "1"))
    return objects


def _read_number(where: str, element: ElementTree.Element, parent: str, field: str) -> float:
    """The finite number in `field` below `element`."""
    text = element.findtext(field)
    if text is None:
        raise InputError(f"{where}, {parent}/{field}", "is missing", "add the number")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}, {parent}/{field}", f"{text.strip()!r} is no finite number", "write a number")
    return number


def _make_example(image_id, tree, name, annotation, objects, class_index, note) -> Example:
    """Put one picture and its objects together; `note(kind, file, field, mend)` is told of every repair."""
    file = tree / "Annotations" / f"{name}.xml"
    if annotation.find("size") is None:
        raise InputError(f"{file}, size", "is missing", "add the picture's width and height")
    sides = ("height", "width")
    stated_size = tuple(_read_number(str(file), annotation, "annotation", f"size/{side}") for side in sides)
    image_path = _find_image(tree, file, name, annotation, note)
    height, width, orientation = _read_image_header(image_path)
    if stated_size != (height, width):
        note(WRONG_SIZE, file, "size", f"write the width {width} and the height {height}")
    if orientation != 1:
        note(EXIF_IGNORED, image_path, "EXIF orientation", "")

    boxes, classes, difficult = [], [], []
    for index, (class_name, corners, is_difficult) in enumerate(objects, start=1):
        if class_name not in class_index:
            raise InputError(
                f"{file}, object {index}, object/name",
                f"{class_name!r} is not among the classes {', '.join(class_index)}",
                "correct the name, or add it to the class names",
            )
        box, kind = convert_box(*corners, height, width)
        if kind is not None:
            note(kind, file, f"object {index}, object/bndbox", "correct the box, or remove the object")
        if box is not None:
            boxes.append(box)
            classes.append(class_index[class_name])
            difficult.append(is_difficult)
    return Example(
        image_id,
        str(image_path),
        height,
        width,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int32),
        np.array(difficult, bool),
    )


def _find_image(tree: Path, file: Path, name: str, annotation: ElementTree.Element, note) -> Path:
    """The picture of an annotation: the XML's `filename` if there is one such, else the one named after the XML."""
    folder = tree / "JPEGImages"
    # The last part only: some tools write whole paths of another machine, and none may lead out of the tree.
    stated = PurePosixPath((annotation.findtext("filename") or "").strip().replace("\\", "/")).name
    stated_path = folder / stated if stated and (folder / stated).is_file() else None
    named_path = next((path for suffix in _IMAGE_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
    if stated_path is None and named_path is None:
        wanted = f"{name}.jpg" if stated in ("", f"{name}.jpg") else f"{stated} or {name}.jpg"
        raise InputError(f"{file}, filename", f"there is no picture {folder}/{wanted}", "add the picture")
    # Annotations copied to another picture without a new `filename` are a common fault, and a silent one.
    if stated_path is not None and named_path is not None and stated_path.stem != name:
        note(OTHER_PICTURE, file, "filename", f"write {named_path.name}, or rename the XML")
    return stated_path or named_path


def _read_image_header(path: Path) -> tuple[int, int, int]:
    """(height, width, EXIF orientation) of a stored picture; its pixels are not decoded."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            image_format = image.format
            exif = image.info.get("exif")  # not image.getexif(), which decodes the whole of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(path, f"cannot be read as a picture ({error})", "replace it with a JPEG or PNG file") from None
    if image_format not in _IMAGE_FORMATS:
        raise InputError(path, f"is a {image_format} picture", "convert it to JPEG or PNG")
    return height, width, _exif_orientation(exif)


def _exif_orientation(exif: bytes | None) -> int:
    """The orientation in a block of EXIF data, 1 (as stored) where there is none to be read."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        return tags.get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises of every kind; nothing but this count depends on it
        return 1
