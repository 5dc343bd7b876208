"""VOC trees: values worked out by hand, every bad input, the repairs, and real trees where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_frcnn.data.sources import voc
from keras_frcnn.facts.errors import InputError

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"the real pictures are not at {REAL_DATA}")
TWENTY_CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()
HEIGHT, WIDTH = 40, 60


def object_xml(box=(11, 21, 30, 40), name="cat", extra="<difficult>0</difficult>"):
    """An object; box is xmin ymin xmax ymax."""
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{sides}</bndbox></object>"


def annotation_xml(*objects, filename="a.jpg", size=f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"):
    return f"<annotation><filename>{filename}</filename>{size}{''.join(objects)}</annotation>"


def make_tree(root, annotations, image_set=None):
    """A flat VOC tree with the image set `train`; annotations: name -> XML."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, xml in annotations.items():
        (root / "Annotations" / f"{name}.xml").write_text(xml)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "JPEGImages" / f"{name}.jpg")
    names = "\n".join(annotations) if image_set is None else image_set
    (root / "ImageSets" / "Main" / "train.txt").write_text(names)
    return root


def load_one(root, *objects, **arguments):
    """The data set of a tree with the single picture `a`."""
    return voc.load_voc(make_tree(root, {"a": annotation_xml(*objects)}), "train", **arguments)


def test_box_is_converted_from_one_based_inclusive_to_continuous_corners(tmp_path):
    dataset = load_one(tmp_path, object_xml((11, 21, 30, 40)), object_xml((1.5, 2.25, 10.5, 20)))
    (picture,) = dataset.examples
    np.testing.assert_array_equal(picture.boxes, [[20, 10, 40, 30], [1.25, 0.5, 20, 10.5]])
    assert picture.boxes.dtype == np.float32 and picture.classes.dtype == np.int32 and picture.difficult.dtype == bool
    assert (picture.height, picture.width, picture.image_id) == (HEIGHT, WIDTH, "a")
    assert picture.image_path == str(tmp_path / "JPEGImages" / "a.jpg")
    assert dataset.problems == {}


def test_a_box_over_the_whole_picture_is_whole_and_without_fault(tmp_path):
    dataset = load_one(tmp_path, object_xml((1, 1, WIDTH, HEIGHT)))
    np.testing.assert_array_equal(dataset.examples[0].boxes, [[0, 0, HEIGHT, WIDTH]])
    assert dataset.problems == {}


def test_xmin_of_zero_is_clipped_and_does_not_underflow(tmp_path):
    dataset = load_one(tmp_path, object_xml((0, 0, 30, 40)))
    np.testing.assert_array_equal(dataset.examples[0].boxes, [[0, 0, 40, 30]])
    assert dataset.problems == {voc.CLIPPED: (str(tmp_path / "Annotations" / "a.xml"),)}


@pytest.mark.parametrize(
    ("box", "kind", "kept"),
    [
        ((50, 30, WIDTH + 1, HEIGHT), voc.CLIPPED, [[29, 49, HEIGHT, WIDTH]]),
        ((50, 30, WIDTH, HEIGHT + 9), voc.CLIPPED, [[29, 49, HEIGHT, WIDTH]]),
        ((5, 7, 5, 7), voc.NO_AREA, []),
        ((5, 7, 5, 9), voc.NO_AREA, []),
        ((9, 7, 5, 9), voc.NO_AREA, []),
        ((WIDTH + 1, 1, WIDTH + 9, 9), voc.OUTSIDE, []),  # x0 is exactly the right edge
        ((1, -9, 9, 0), voc.OUTSIDE, []),  # y1 is exactly the upper edge
        ((1, 1, 1e-300, 9), voc.NO_AREA, []),
    ],
)
def test_a_faulty_box_is_repaired_and_counted_or_refused(tmp_path, box, kind, kept):
    dataset = load_one(tmp_path, object_xml(box), class_names=["cat"])
    np.testing.assert_array_equal(dataset.examples[0].boxes, np.reshape(kept, (-1, 4)))
    assert len(dataset.examples[0].classes) == len(dataset.examples[0].difficult) == len(kept)
    assert dataset.problems == {kind: (str(tmp_path / "Annotations" / "a.xml"),)}
    with pytest.raises(InputError, match=r"a\.xml, object 1, object/bndbox: .*; correct the box"):
        voc.load_voc(tmp_path, "train", strict=True)


coordinates = st.one_of(
    st.integers(-5, WIDTH + 5).map(float),
    st.floats(-2.0, WIDTH + 2.0),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(deadline=None)  # a busy machine is no failure
@given(coordinates, coordinates, coordinates, coordinates)
@example(0.0, 1.0, 1e-300, 5.0)
@example(WIDTH + 1 - 1e-9, 1.0, WIDTH + 9.0, 5.0)  # float32 rounds its x0 to the right edge
@example(-1e308, -1e308, 1e308, 1e308)
def test_any_box_ends_inside_the_picture_or_is_dropped_and_counted(xmin, ymin, xmax, ymax):
    box, kind = voc.convert_box(xmin, ymin, xmax, ymax, HEIGHT, WIDTH)
    if box is None:
        assert kind in (voc.NO_AREA, voc.OUTSIDE)
    else:
        y0, x0, y1, x1 = box
        assert box.dtype == np.float32 and 0 <= y0 < y1 <= HEIGHT and 0 <= x0 < x1 <= WIDTH
        untouched = xmin >= 1 and ymin >= 1 and xmax <= WIDTH and ymax <= HEIGHT
        assert kind is None if untouched else kind in (None, voc.CLIPPED)
        if kind is None:
            np.testing.assert_allclose(box, [ymin - 1, xmin - 1, ymax, xmax], rtol=1e-6)


def test_difficult_is_read_and_zero_where_it_is_missing(tmp_path):
    dataset = load_one(tmp_path, object_xml(extra="<difficult>1</difficult>"), object_xml(), object_xml(extra=""))
    assert dataset.examples[0].difficult.tolist() == [True, False, False]


def test_the_parts_of_an_object_are_not_taken_for_it(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    dataset = load_one(tmp_path, object_xml((11, 21, 30, 40), "person", extra=part))
    assert dataset.class_names == ("person",)
    np.testing.assert_array_equal(dataset.examples[0].boxes, [[20, 10, 40, 30]])


def test_classes_are_read_in_alphabetical_order_or_given(tmp_path):
    objects = [object_xml(name="dog"), object_xml(name=" ant "), object_xml(name="cat")]
    dataset = load_one(tmp_path, *objects)
    assert dataset.class_names == ("ant", "cat", "dog")
    assert dataset.examples[0].classes.tolist() == [3, 1, 2]
    dataset = load_one(tmp_path, *objects, class_names=["dog", "cat", "eel", "ant"])
    assert dataset.class_names == ("dog", "cat", "eel", "ant")
    assert dataset.examples[0].classes.tolist() == [1, 4, 2]


def test_a_picture_without_objects_is_legal(tmp_path):
    tree = make_tree(tmp_path, {"a": annotation_xml(), "b": annotation_xml(object_xml(), filename="b.jpg")})
    empty, other = voc.load_voc(tree, "train").examples
    assert empty.boxes.shape == (0, 4) and empty.classes.shape == (0,) and empty.difficult.shape == (0,)
    assert len(other.boxes) == 1


def test_year_folders_are_joined_and_named_in_the_identifiers(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make_tree(tmp_path / year, {"a": annotation_xml(object_xml())})
    dataset = voc.load_voc(tmp_path, "VOC2012/train+VOC2007/train")
    assert [picture.image_id for picture in dataset.examples] == ["VOC2012/a", "VOC2007/a"]
    assert [Path(picture.image_path).parts[-3] for picture in dataset.examples] == ["VOC2012", "VOC2007"]
    with pytest.raises(InputError, match="YEARDIR is one of: VOC2007, VOC2012"):
        voc.load_voc(tmp_path, "train")
    with pytest.raises(InputError, match="write the split as IMAGESET alone"):
        voc.load_voc(tmp_path / "VOC2007", "VOC2007/train")


def test_the_second_column_of_an_image_set_is_not_used(tmp_path):
    annotations = {name: annotation_xml(object_xml(), filename=f"{name}.jpg") for name in ("a", "b", "c")}
    make_tree(tmp_path, annotations, image_set="a -1\n\nb  1\nc  0\n")
    assert [picture.image_id for picture in voc.load_voc(tmp_path, "train").examples] == ["a", "b", "c"]


def test_the_picture_is_the_one_named_in_the_xml_or_else_after_it(tmp_path):
    named_after = {"a": annotation_xml(object_xml(), filename="C:\\elsewhere\\missing.jpg")}
    dataset = voc.load_voc(make_tree(tmp_path, named_after), "train")
    assert Path(dataset.examples[0].image_path).name == "a.jpg" and dataset.problems == {}

    (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / "other.png")
    xml_file = tmp_path / "Annotations" / "a.xml"
    xml_file.write_text(annotation_xml(object_xml(), filename="some/where/other.png"))
    dataset = voc.load_voc(tmp_path, "train")
    assert Path(dataset.examples[0].image_path).name == "other.png" and dataset.problems == {}

    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / "a.PNG")  # now both are there
    dataset = voc.load_voc(tmp_path, "train")
    assert Path(dataset.examples[0].image_path).name == "other.png"
    assert dataset.problems == {voc.OTHER_PICTURE: (str(xml_file),)}


def test_the_pictures_own_size_is_used(tmp_path):
    size = f"<size><width>{HEIGHT}</width><height>{WIDTH}</height></size>"
    make_tree(tmp_path, {"a": annotation_xml(object_xml(), size=size)})
    dataset = voc.load_voc(tmp_path, "train")
    assert (dataset.examples[0].height, dataset.examples[0].width) == (HEIGHT, WIDTH)
    assert dataset.problems == {voc.WRONG_SIZE: (str(tmp_path / "Annotations" / "a.xml"),)}
    with pytest.raises(InputError, match=rf"a\.xml, size: .*; write the width {WIDTH} and the height {HEIGHT}"):
        voc.load_voc(tmp_path, "train", strict=True)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_exif_orientation_is_counted_and_ignored(tmp_path, suffix):
    make_tree(tmp_path, {"a": annotation_xml(object_xml(), filename=f"a.{suffix}")})
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "JPEGImages" / f"a.{suffix}"
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    for strict in (False, True):
        dataset = voc.load_voc(tmp_path, "train", strict=strict)
        assert dataset.problems == {voc.EXIF_IGNORED: (str(path),)}
        assert (dataset.examples[0].height, dataset.examples[0].width) == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(dataset.examples[0].boxes, [[20, 10, 40, 30]])


def test_each_fault_is_counted_for_each_object(tmp_path):
    dataset = load_one(tmp_path, object_xml((5, 5, 5, 5)), object_xml((7, 7, 7, 7)), object_xml((0, 1, 9, 9)))
    file = str(tmp_path / "Annotations" / "a.xml")
    assert dataset.problems == {voc.NO_AREA: (file, file), voc.CLIPPED: (file,)}


BAD_XML = {
    "unknown class": (annotation_xml(object_xml(name="cow")), "object 1, object/name: 'cow' is not among .* correct"),
    "no name": (annotation_xml(object_xml(name=" ")), "object 1, object/name: is missing or empty; write the name"),
    "no box": (annotation_xml("<object><name>cat</name></object>"), "object/bndbox: is missing; add the box"),
    "no corner": (
        annotation_xml(object_xml().replace("<xmax>30</xmax>", "")),
        "object/bndbox/xmax: is missing; add the number",
    ),
    "nan": (annotation_xml(object_xml(("nan", 1, 2, 3))), "bndbox/xmin: 'nan' is no finite number; write a number"),
    "inf": (annotation_xml(object_xml((1, 2, 3, "-inf"))), "bndbox/ymax: '-inf' is no finite number; write a number"),
    "overflow": (annotation_xml(object_xml((1, "1e999", 3, 4))), "bndbox/ymin: '1e999' is no finite number; write"),
    "text": (annotation_xml(object_xml((1, 2, "wide", 4))), "bndbox/xmax: 'wide' is no finite number; write a number"),
    "empty": (annotation_xml(object_xml(("", 2, 3, 4))), "bndbox/xmin: '' is no finite number; write a number"),
    "difficult": (
        annotation_xml(object_xml(extra="<difficult>maybe</difficult>")),
        "object/difficult: is 'maybe'; write 0 or 1",
    ),
    "no size": (annotation_xml(object_xml(), size=""), "size: is missing; add the picture's width and height"),
    "no height": (annotation_xml(size="<size><width>9</width></size>"), "size/height: is missing; add the number"),
    "cut off": ("<annotation><object>", "is not well-formed XML .*; write the annotation anew"),
    "unknown encoding": ('<?xml version="1.0" encoding="none"?><annotation/>', "is not well-formed XML .*; write"),
    "entities": (
        '<!DOCTYPE annotation [<!ENTITY a "cat"><!ENTITY b "&a;&a;&a;">]>' + annotation_xml(object_xml(name="&b;")),
        "declares a DOCTYPE, .*; remove the DOCTYPE",
    ),
}


@pytest.mark.parametrize(("xml", "message"), BAD_XML.values(), ids=BAD_XML)
def test_a_bad_annotation_is_named_with_the_field_and_the_mend(tmp_path, xml, message):
    make_tree(tmp_path, {"a": xml})
    with pytest.raises(InputError, match=rf"^{tmp_path}/Annotations/a\.xml[,:] .*{message}") as caught:
        voc.load_voc(tmp_path, "train", class_names=["cat", "dog"])
    assert "\n" not in str(caught.value)


def test_entities_hidden_in_another_encoding_are_refused(tmp_path):
    make_tree(tmp_path, {"a": ""})
    xml = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "cat">]><annotation/>'
    (tmp_path / "Annotations" / "a.xml").write_bytes(xml.encode("utf-16"))
    with pytest.raises(InputError, match="remove the DOCTYPE"):
        voc.load_voc(tmp_path, "train")


BAD_IMAGE_SETS = {
    "empty": ("\n \n", r"train\.txt: lists no picture; list one picture a line"),
    "twice": ("a\na\n", r"train\.txt, line 2: the picture a was listed before in .*line 1; list each picture once"),
    "path": ("../a\n", r"train\.txt, line 1: '\.\./a' is a path; write the picture's name alone"),
    "no annotation": ("a\nb\n", r"b\.xml: there is no such annotation; add the annotation, or take the picture out"),
    "not text": ("\udcff", r"train\.txt: cannot be read .*; write it as UTF-8"),
}


@pytest.mark.parametrize(("image_set", "message"), BAD_IMAGE_SETS.values(), ids=BAD_IMAGE_SETS)
def test_a_bad_image_set_is_named_with_the_mend(tmp_path, image_set, message):
    make_tree(tmp_path, {"a": annotation_xml(object_xml())}, image_set="")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(image_set.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=f"^{tmp_path}/.*{message}"):
        voc.load_voc(tmp_path, "train")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("val", r"ImageSets/Main/val\.txt: there is no such image set; write one of these in the split: train"),
        ("", "'' is no image set; write IMAGESET or YEARDIR/IMAGESET"),
        ("train+", "'' is no image set; write IMAGESET or YEARDIR/IMAGESET"),
        ("../x/train", "'../x/train' is no image set; write IMAGESET"),
        ("../train", r"'\.\./train' is no image set; write IMAGESET"),
        ("train+train", "the picture a was listed before in .*; list each picture once"),
    ],
)
def test_a_bad_split_is_named_with_the_mend(tmp_path, split, message):
    make_tree(tmp_path, {"a": annotation_xml(object_xml())})
    with pytest.raises(InputError, match=message):
        voc.load_voc(tmp_path, split)


def test_a_folder_that_is_no_tree_is_named_with_the_mend(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}: is no VOC tree; give a folder that holds Annotations"):
        voc.load_voc(tmp_path, "train")
    with pytest.raises(InputError, match=f"^{tmp_path}/missing: is no folder; give the folder of a VOC tree"):
        voc.load_voc(tmp_path / "missing", "train")


def test_a_bad_picture_is_named_with_the_mend(tmp_path):
    make_tree(tmp_path, {"a": annotation_xml(object_xml())})
    picture = tmp_path / "JPEGImages" / "a.jpg"
    picture.write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"^{picture}: cannot be read as a picture .*; replace it"):
        voc.load_voc(tmp_path, "train")
    Image.new("RGB", (WIDTH, HEIGHT)).save(picture, format="WEBP")
    with pytest.raises(InputError, match=f"^{picture}: is a WEBP picture; convert it to JPEG or PNG"):
        voc.load_voc(tmp_path, "train")
    picture.unlink()
    with pytest.raises(InputError, match=r"a\.xml, filename: there is no picture .*a\.jpg; add the picture"):
        voc.load_voc(tmp_path, "train")


def test_the_pictures_filename_cannot_lead_out_of_the_tree(tmp_path):
    make_tree(tmp_path / "tree", {"a": annotation_xml(object_xml(), filename="../../secret.jpg")})
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "secret.jpg")
    assert Path(voc.load_voc(tmp_path / "tree", "train").examples[0].image_path).name == "a.jpg"


@pytest.mark.parametrize("class_names", [[], ["cat", "cat"], ["cat", ""], "cat"])
def test_bad_class_names_are_refused(tmp_path, class_names):
    with pytest.raises(InputError, match="^class names: .*; give"):
        load_one(tmp_path, object_xml(), class_names=class_names)


def test_no_object_at_all_needs_class_names(tmp_path):
    with pytest.raises(InputError, match="holds no object to read the class names from; give the class names"):
        load_one(tmp_path)
    assert load_one(tmp_path, class_names=["cat"]).class_names == ("cat",)


@needs_real_data
@pytest.mark.parametrize(
    ("split", "count", "no_area"),
    [("train", 205, ["BloodImage_00343.xml"]), ("val", 87, ["BloodImage_00338.xml"]), ("test", 72, [])],
)
def test_blood_cells_have_exactly_two_faults(split, count, no_area):
    dataset = voc.load_voc(REAL_DATA / "bccd", split)
    assert dataset.class_names == ("Platelets", "RBC", "WBC")
    assert len(dataset.examples) == count
    assert {kind: [Path(file).name for file in files] for kind, files in dataset.problems.items()} == (
        {voc.NO_AREA: no_area} if no_area else {}
    )


@needs_real_data
def test_real_voc_years_are_read_without_a_fault():
    dataset = voc.load_voc(REAL_DATA / "voc", "VOC2007/trainval+VOC2012/trainval", strict=True)
    assert list(dataset.class_names) == TWENTY_CLASSES
    assert len(dataset.examples) == 943 + 307 and dataset.problems == {}
    first = dataset.examples[0]  # its five chairs, from the XML: the first is xmin 263, ymin 211, xmax 324, ymax 339
    assert first.image_id == "VOC2007/000005" and (first.height, first.width) == (375, 500)
    assert first.boxes[0].tolist() == [210, 262, 339, 324]
    assert {dataset.class_names[index - 1] for index in first.classes} == {"chair"}
    assert first.difficult.tolist() == [False, False, True, False, True]


@needs_real_data
def test_the_real_minival_is_read():
    assert len(voc.load_voc(REAL_DATA / "voc", "VOC2007/minival", TWENTY_CLASSES).examples) == 300
