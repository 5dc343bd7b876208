"""One PASCAL VOC annotation file: parse the XML, check its fields, convert its boxes."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from keras_frcnn.data.sources.shared.annotations import AnnotatedObject
from keras_frcnn.data.sources.shared.numbers import read_number
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import check_regular


class VOCAnnotation(NamedTuple):
    """The fields of an annotation file that the project uses."""

    filename: str  # of the picture, as written; "" if it is missing
    size: tuple[float, float] | None  # height, width in pixels, as written; None: it is missing
    objects: tuple[AnnotatedObject, ...]


def read_annotation(file: Path) -> VOCAnnotation:
    """Read an annotation file.

    Raises:
      InputError: the file is missing or not well-formed XML, it declares a DOCTYPE, its root is not `annotation`, or a
        field is missing or invalid.
    """
    root = _parse_xml(file)
    if root.tag.lower() != "annotation":
        problem = f"not a VOC annotation: the root element is <{root.tag}>, not <annotation>"
        raise InputError(file, problem, "remove the file, or use the folder that holds only pictures and annotations")
    objects = tuple(_read_object(element, file, number) for number, element in enumerate(root.findall("object"), 1))
    size = None
    if root.find("size") is not None:
        size = (_read_number(root, "size/height", str(file)), _read_number(root, "size/width", str(file)))
    return VOCAnnotation((root.findtext("filename") or "").strip(), size, objects)


def continuous_corners(xmin: float, ymin: float, xmax: float, ymax: float) -> tuple[float, float, float, float] | None:
    """Convert a box of PASCAL VOC: pixels, 1-based, inclusive ends.

    The conversion is in floats: in unsigned integers, an xmin of 0 would become 65535.

    Returns:
      y0 x0 y1 x1, pixels, 0-based continuous corners.  None if xmin >= xmax or ymin >= ymax: such a box counts as one
      without area.  Strictly, xmin = xmax is one pixel wide, but no object of PASCAL VOC is that small, and annotation
      tools write such a box for a click without a drag.
    """
    if xmax <= xmin or ymax <= ymin:
        return None
    return ymin - 1.0, xmin - 1.0, ymax, xmax


class _DoctypeError(Exception):
    """The XML declares a document type."""


class _BuilderWithoutDoctype(ElementTree.TreeBuilder):
    """Rejects document types: VOC needs none, and the entities that one declares can expand without limit."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DoctypeError


def _parse_xml(file: Path) -> ElementTree.Element:
    """The root element of an annotation file."""
    parser = ElementTree.XMLParser(target=_BuilderWithoutDoctype())
    try:
        check_regular(file)
        return ElementTree.fromstring(file.read_bytes(), parser=parser)
    except FileNotFoundError:
        fix = "add the file, or remove its picture from the image set"
        raise InputError(file, "annotation file not found", fix) from None
    except _DoctypeError:
        raise InputError(file, "the XML declares a DOCTYPE, which is not allowed", "remove the DOCTYPE") from None
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})", "check the file and its permissions") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: an unknown or invalid encoding
        raise InputError(file, f"not well-formed XML ({error})", "correct or recreate the annotation") from None


def _read_object(element: ElementTree.Element, file: Path, number: int) -> AnnotatedObject:
    """Read one `object` element.

    Only its direct children are read: the `part` elements inside it (head, hand, foot) have names and boxes of their
    own.
    """
    place = f"object {number}"
    where = f"{file}, {place}"
    name = (element.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{where}, name", "missing or empty field", "write the name of the object's class")
    difficult = element.findtext("difficult", default="0").strip()
    if difficult not in ("0", "1"):
        raise InputError(f"{where}, difficult", f"expected 0 or 1 (got {difficult!r})", "write 0 or 1, or remove it")
    if element.find("bndbox") is None:
        raise InputError(f"{where}, bndbox", "missing field", "add the box or remove the object")
    corners = (_read_number(element, f"bndbox/{side}", where) for side in ("xmin", "ymin", "xmax", "ymax"))
    return AnnotatedObject(place, name, continuous_corners(*corners), difficult == "1")


def _read_number(element: ElementTree.Element, field: str, where: str) -> float:
    """The number in the field `field` below `element`; `where` is the place of `element`, for messages."""
    text = element.findtext(field)
    if text is None:
        raise InputError(f"{where}, {field}", "missing field", "add the number")
    return read_number(text, f"{where}, {field}")
