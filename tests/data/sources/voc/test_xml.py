"""One annotation file: its fields, its boxes, and every fault with the field that has it."""

import pytest

from keras_frcnn.data.sources.shared.annotations import AnnotatedObject
from keras_frcnn.data.sources.voc.xml import continuous_corners, read_annotation
from keras_frcnn.facts.errors import InputError


def object_xml(box=(11, 21, 30, 40), name="cat", extra="<difficult>0</difficult>"):
    """An object; box is xmin ymin xmax ymax."""
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{sides}</bndbox></object>"


def annotation_xml(*objects, filename="a.jpg", size="<size><width>60</width><height>40</height></size>"):
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def read(tmp_path):
    """A function that writes XML text to a file and reads it."""

    def write_and_read(xml):
        file = tmp_path / "a.xml"
        file.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        return read_annotation(file)

    return write_and_read


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((11, 21, 30, 40), (20, 10, 40, 30)),
        ((1, 1, 60, 40), (0, 0, 40, 60)),
        ((1.5, 2.25, 10.5, 20), (1.25, 0.5, 20, 10.5)),
        ((0, 0, 30, 40), (-1, -1, 40, 30)),
        ((5, 7, 5, 9), None),
        ((5, 7, 9, 7), None),
        ((9, 7, 5, 9), None),
        ((5, 9, 9, 7), None),
    ],
)
def test_a_box_becomes_continuous_corners(read, box, corners):
    assert continuous_corners(*box) == corners
    assert read(annotation_xml(object_xml(box))).objects[0].corners == corners


def test_the_fields_are_read_in_order(read):
    annotation = read(annotation_xml(object_xml(name=" dog "), object_xml(), filename=" some/where.png "))
    assert annotation.filename == "some/where.png" and annotation.size == (40, 60)
    found = [(annotated.where, annotated.class_name) for annotated in annotation.objects]
    assert found == [("object 1", "dog"), ("object 2", "cat")]
    assert read("<annotation><size><width>1</width><height>2</height></size></annotation>") == ("", (2, 1), ())
    assert read(annotation_xml(size="")).size is None


def test_difficult_is_false_if_it_is_missing(read):
    extras = ("<difficult>1</difficult>", "<difficult>0</difficult>", "")
    annotation = read(annotation_xml(*(object_xml(extra=extra) for extra in extras)))
    assert [found.difficult for found in annotation.objects] == [True, False, False]


def test_the_parts_of_an_object_are_ignored(read):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    (person,) = read(annotation_xml(object_xml((11, 21, 30, 40), "person", extra=part))).objects
    assert person == AnnotatedObject("object 1", "person", (20, 10, 40, 30), difficult=False)


BAD_XML = {
    "no name": (annotation_xml(object_xml(name=" ")), "object 1, name: missing or empty field; write the name"),
    "no box": (
        annotation_xml(object_xml(), "<object><name>cat</name></object>"),
        "object 2, bndbox: missing field; add the box",
    ),
    "no corner": (
        annotation_xml(object_xml().replace("<xmax>30</xmax>", "")),
        "object 1, bndbox/xmax: missing field; add the number",
    ),
    "nan": (annotation_xml(object_xml(("nan", 1, 2, 3))), r"bndbox/xmin: expected a finite number \(got 'nan'\)"),
    "inf": (annotation_xml(object_xml((1, 2, 3, "-inf"))), r"bndbox/ymax: expected a finite number \(got '-inf'\)"),
    "overflow": (annotation_xml(object_xml((1, "1e999", 3, 4))), r"ymin: expected a finite number \(got '1e999'\)"),
    "text": (annotation_xml(object_xml((1, 2, "wide", 4))), r"bndbox/xmax: expected a finite number \(got 'wide'\)"),
    "empty": (annotation_xml(object_xml(("", 2, 3, 4))), r"bndbox/xmin: expected a finite number \(got ''\)"),
    "difficult": (
        annotation_xml(object_xml(extra="<difficult>maybe</difficult>")),
        r"object 1, difficult: expected 0 or 1 \(got 'maybe'\); write 0 or 1",
    ),
    "other root": ("<annotations/>", "root element is <annotations>, not <annotation>; remove the file, or use"),
    "no height": (annotation_xml(size="<size><width>9</width></size>"), "size/height: missing field; add the number"),
    "cut off": ("<annotation><object>", "not well-formed XML .*; correct or recreate the annotation"),
    "unknown encoding": ('<?xml version="1.0" encoding="none"?><annotation/>', "not well-formed XML .*; correct"),
    "entities": (
        '<!DOCTYPE annotation [<!ENTITY a "cat"><!ENTITY b "&a;&a;&a;">]>' + annotation_xml(object_xml(name="&b;")),
        "the XML declares a DOCTYPE, .*; remove the DOCTYPE",
    ),
    "entities in another encoding": (
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "cat">]><annotation/>'.encode("utf-16"),
        "remove the DOCTYPE",
    ),
}


@pytest.mark.parametrize(("xml", "message"), BAD_XML.values(), ids=BAD_XML)
def test_a_bad_annotation_is_named_with_the_field_and_its_fix(read, tmp_path, xml, message):
    with pytest.raises(InputError, match=rf"^{tmp_path}/a\.xml[,:] .*{message}") as caught:
        read(xml)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"b\.xml: annotation file not found; add the file"):
        read_annotation(tmp_path / "b.xml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\); check the file"):
        read_annotation(tmp_path)
