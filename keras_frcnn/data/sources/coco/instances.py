"""One instances file of COCO: check its fields, and put pictures and annotations together.

A file holds the lists `images`, `categories` and `annotations` in any order.  Each annotation is reduced to what the
project uses when it is read, so that a file with a million annotations needs little memory.

Boxes (`bbox`) are x, y, width, height in pixels, 0-based and continuous.

Source: the format of the COCO data set (cocodataset.org, "Data format", object detection).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_frcnn.data.sources.coco.json_stream import TOP, read_entries
from keras_frcnn.data.sources.shared.annotations import AnnotatedObject, AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.picture_folders import PictureFolders
from keras_frcnn.facts.errors import InputError

UNLISTED = "annotation of a picture that is not listed: object dropped"
SAME_ID = "annotation id occurs more than once: all objects kept"
SAME_NAME = "several categories have the same name: treated as one class"
ONLY_A_GROUP = "category only groups the others and has no objects: not a class"

_LISTS = ("images", "categories", "annotations")
_NUMBERS = (int, float)


class _Category(NamedTuple):
    name: str
    group: Any  # `supercategory`


class _Image(NamedTuple):
    place: int  # in its list in the file, from 0
    name: str  # `file_name`
    size: tuple[float, float] | None


class _Object(NamedTuple):
    """An annotation without its picture."""

    place: int  # in its list in the file, from 0
    category: int
    corners: tuple[float, float, float, float]  # y0 x0 y1 x1
    crowd: bool
    difficult: bool
    area: float | None


class _Contents:
    """What a file holds."""

    def __init__(self, file: Path, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.images: dict[str, _Image] = {}
        self.categories: dict[int, _Category] = {}
        self.objects: dict[str, list[_Object]] = {}  # image id -> its annotations
        self._annotation_ids: set[Any] = set()

    def add_image(self, place: int, fields: Any) -> None:
        """Read an element of `images`."""
        where = f"{self.file}, images[{place}]"
        image_id = _image_id(_field(fields, "id", where), where, "id")
        if image_id in self.images:
            problem = f"images[{self.images[image_id].place}] has the same id {image_id}"
            raise InputError(f"{where}, id", problem, "give each picture its own id")
        name = _name(fields, "file_name", where)
        size = None
        if fields.get("height") is not None and fields.get("width") is not None:
            size = (_number(fields["height"], where, "height"), _number(fields["width"], where, "width"))
        self.images[image_id] = _Image(place, name, size)

    def add_category(self, place: int, fields: Any) -> None:
        """Read an element of `categories`."""
        where = f"{self.file}, categories[{place}]"
        number = _whole(_field(fields, "id", where), where, "id")
        name = _name(fields, "name", where)
        if number in self.categories:
            problem = f"category {self.categories[number].name!r} has the same id {number}"
            raise InputError(f"{where}, id", problem, "give each category its own id")
        if any(other.name == name for other in self.categories.values()):
            self.problems.repaired(SAME_NAME, str(self.file), f"categories[{place}]", "give it another name")
        self.categories[number] = _Category(name, fields.get("supercategory"))

    def add_annotation(self, place: int, fields: Any) -> None:
        """Read an element of `annotations`."""
        where = f"{self.file}, annotations[{place}]"
        image_id = _image_id(_field(fields, "image_id", where), where, "image_id")
        number = fields.get("id")
        if isinstance(number, int | str):
            if number in self._annotation_ids:
                fix = "give each annotation its own id"
                self.problems.repaired(SAME_ID, str(self.file), f"annotations[{place}], id", fix)
            self._annotation_ids.add(number)
        one = _Object(
            place,
            _whole(_field(fields, "category_id", where), where, "category_id"),
            _corners(fields, where),
            _flag(fields, "iscrowd", where),
            _flag(fields, "ignore", where),
            None if fields.get("area") is None else _number(fields["area"], where, "area"),
        )
        self.objects.setdefault(image_id, []).append(one)

    def forget_annotation_ids(self) -> None:
        self._annotation_ids.clear()


def read_instances(file: Path, folders: PictureFolders, problems: Problems) -> SourcePictures:
    """Read an instances file.

    The classes are the categories in the order of their ids.  Image ids are the ids of the pictures as text.

    Args:
      file: the JSON file.
      folders: finds the pictures.
      problems: counts the faults that are repaired.

    Raises:
      InputError: the file cannot be read or is not an instances file, a field is missing or invalid, two pictures or
        two categories have the same id, or a picture is not found.
    """
    contents = _read(file, problems)
    class_names = _class_names(contents)
    pictures = []
    for image_id, image in contents.images.items():
        where = f"{file}, images[{image.place}]"
        with problems.skipping():
            objects = tuple(_named(contents.objects.pop(image_id, ()), contents))
            path = folders.find(image.name, f"{where}, file_name")
            pictures.append(AnnotatedPicture(image_id, path, where, image.size, objects))
    for left in contents.objects.values():
        for one in left:
            problems.repaired(UNLISTED, str(file), f"annotations[{one.place}], image_id", "list the picture in images")
    if not contents.images:
        raise InputError(f"{file}, images", "there are no pictures", "use a file that lists pictures")
    return SourcePictures(tuple(pictures), class_names)


def _read(file: Path, problems: Problems) -> _Contents:
    """The checked contents of a file."""
    contents = _Contents(file, problems)
    add = {
        "images": contents.add_image,
        "categories": contents.add_category,
        "annotations": contents.add_annotation,
    }
    found = set()
    for key, place, value in read_entries(file):
        if key == TOP and place is not None:
            raise _no_instances(file, value)
        if key not in add:
            continue
        if place is None:
            if not isinstance(value, list):
                raise InputError(f"{file}, {key}", "expected a list", f"write {key} as a list")
            found.add(key)
            continue
        try:
            add[key](place, value)
        except InputError as error:
            with problems.skipping():
                raise error
    missing = [key for key in _LISTS if key not in found]
    if missing:
        raise _no_instances(file, missing)
    contents.forget_annotation_ids()
    return contents


def _no_instances(file: Path, found: Any) -> InputError:
    """The error for a file of another kind; `found` is the first element of a list, or the keys that are missing."""
    fix = "use an instances file, with the lists images, categories and annotations"
    if isinstance(found, dict) and "score" in found:
        return InputError(file, "holds detections with scores, not annotations", fix)
    if isinstance(found, list) and "annotations" in found:
        return InputError(file, "holds no annotations", fix)
    return InputError(file, "is not an instances file of COCO", fix)


def _class_names(contents: _Contents) -> tuple[str, ...]:
    """The categories in the order of their ids, each name once; counts a category that is not a class.

    Roboflow's exports begin with a category that has the project's name.  It groups all others and has no objects.
    """
    categories = [contents.categories[number] for number in sorted(contents.categories)]
    if len(categories) > 1 and categories[0].group in (None, "none") and _groups(categories[0], categories[1:]):
        first = min(contents.categories)
        if not any(one.category == first for objects in contents.objects.values() for one in objects):
            contents.problems.count(ONLY_A_GROUP, str(contents.file))
            categories = categories[1:]
    return tuple(dict.fromkeys(category.name for category in categories))


def _groups(category: _Category, others: Iterable[_Category]) -> bool:
    return all(other.group == category.name for other in others)


def _named(objects: Iterable[_Object], contents: _Contents) -> Iterable[AnnotatedObject]:
    """The objects of a picture with the names of their classes."""
    for one in objects:
        category = contents.categories.get(one.category)
        if category is None:
            problem = f"{one.category} is not the id of a category"
            fix = "correct the id, or add the category"
            raise InputError(f"{contents.file}, annotations[{one.place}], category_id", problem, fix)
        where = f"annotations[{one.place}]"
        yield AnnotatedObject(where, category.name, one.corners, one.difficult, one.crowd, one.area)


# Fields.


def _field(fields: Any, name: str, where: str) -> Any:
    if not isinstance(fields, dict):
        raise InputError(where, f"expected an object (got {type(fields).__name__})", "write an object with its fields")
    if name not in fields:
        raise InputError(f"{where}, {name}", "missing field", "add it, or use an instances file")
    return fields[name]


def _name(fields: Any, name: str, where: str) -> str:
    """A field with a text that is not blank and has only characters that can be written to a file."""
    value = _field(fields, name, where)
    if isinstance(value, str) and value.strip() and _is_text(value):
        return value
    raise InputError(f"{where}, {name}", f"expected a name (got {value!r})", "write a name")


def _is_text(value: str) -> bool:
    """False for half a surrogate pair, which JSON can hold and no file can, and for a null character."""
    return "\0" not in value and value == value.encode("utf-8", "ignore").decode()


def _image_id(value: Any, where: str, field: str) -> str:
    """The id as text: a whole number, or a name.  Files of a run are named after it, and must stay in their folder."""
    if isinstance(value, str) and _is_text(value) and not value.startswith("/"):
        if not {"", ".", ".."} & set(value.replace("\\", "/").split("/")):
            return value
    elif isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return str(_whole(value, where, field))
    raise InputError(f"{where}, {field}", f"expected a whole number or a name (got {value!r})", "write a whole number")


def _whole(value: Any, where: str, field: str) -> int:
    if isinstance(value, _NUMBERS) and not isinstance(value, bool) and abs(value) < 1e300 and value == int(value):
        return int(value)
    raise InputError(f"{where}, {field}", f"expected a whole number (got {value!r})", "write a whole number")


def _number(value: Any, where: str, field: str) -> float:
    if isinstance(value, _NUMBERS) and not isinstance(value, bool) and abs(value) < 1e300:  # False for NaN
        return float(value)
    raise InputError(f"{where}, {field}", f"expected a finite number (got {value!r})", "write a number")


def _flag(fields: dict[str, Any], name: str, where: str) -> bool:
    value = fields.get(name, 0)
    if value in (0, 1):
        return bool(value)
    raise InputError(f"{where}, {name}", f"expected 0 or 1 (got {value!r})", "write 0 or 1, or remove it")


def _corners(fields: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    """The box of an annotation, y0 x0 y1 x1; without `bbox` that of its polygons."""
    box = fields.get("bbox")
    if box is None and isinstance(fields.get("segmentation"), list) and fields["segmentation"]:
        return _around(fields["segmentation"], where)
    if box is None:
        raise InputError(f"{where}, bbox", "missing field", "add it, or use an instances file")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}, bbox", f"expected four numbers (got {box!r})", "write x, y, width and height")
    x, y, width, height = [_number(value, where, "bbox") for value in box]
    # Many tools work in float32: their x + width is a little more than the picture's width for a box that ends at the
    # border.  Boxes become float32 in the end, so the rounding loses nothing.
    return y, x, float(np.float32(y + height)), float(np.float32(x + width))


def _around(polygons: list[Any], where: str) -> tuple[float, float, float, float]:
    """The box around polygons of x1 y1 x2 y2 ..., as y0 x0 y1 x1."""
    field = "segmentation"
    if not all(isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0 for one in polygons):
        fix = "write x1, y1, x2, y2, ... for each"
        raise InputError(f"{where}, {field}", "expected polygons of at least three points", fix)
    numbers = [[_number(value, where, field) for value in one] for one in polygons]
    xs, ys = ([value for one in numbers for value in one[start::2]] for start in (0, 1))
    return min(ys), min(xs), max(ys), max(xs)
