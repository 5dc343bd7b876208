"""VOC trees: values computed by hand, image sets, pictures, and real trees if the files are there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import load_dataset
from keras_frcnn.data.sources.shared.annotations import CLIPPED, NO_AREA
from keras_frcnn.data.sources.spec import ALL, DataSpec, Request
from keras_frcnn.data.sources.voc import reading as voc
from keras_frcnn.data.sources.voc.folders import NO_XML
from keras_frcnn.data.sources.voc.image_sets import UNLISTED
from keras_frcnn.data.sources.voc.pictures import OTHER_PICTURE
from keras_frcnn.facts.errors import InputError

REAL_DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"the real pictures are not at {REAL_DATA}")
TWENTY_CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()
HEIGHT, WIDTH = 40, 60


def object_xml(box=(11, 21, 30, 40), name="cat"):
    """An object; box is xmin ymin xmax ymax."""
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox></object>"


def annotation_xml(*objects, filename="a.jpg"):
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
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


def load_voc(root, split, class_names=None, strict=False):
    return load_dataset(DataSpec(data=f"voc:{root}", class_names=class_names, strict=strict), split)


def load_one(root, *objects, **arguments):
    """The data set of a tree with the single picture `a`."""
    return load_voc(make_tree(root, {"a": annotation_xml(*objects)}), "train", **arguments)


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
    assert dataset.problems == {CLIPPED: (str(tmp_path / "Annotations" / "a.xml"),)}


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
    empty, other = load_voc(tree, "train").examples
    assert empty.boxes.shape == (0, 4) and empty.classes.shape == (0,) and empty.difficult.shape == (0,)
    assert len(other.boxes) == 1


def test_year_folders_are_joined_and_named_in_the_identifiers(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make_tree(tmp_path / year, {"a": annotation_xml(object_xml())})
    dataset = load_voc(tmp_path, "VOC2012/train+VOC2007/train")
    assert [picture.image_id for picture in dataset.examples] == ["VOC2012/a", "VOC2007/a"]
    assert [Path(picture.image_path).parts[-3] for picture in dataset.examples] == ["VOC2012", "VOC2007"]
    with pytest.raises(InputError, match="YEARDIR is one of: VOC2007, VOC2012"):
        load_voc(tmp_path, "train")
    with pytest.raises(InputError, match="write the split as IMAGESET alone"):
        load_voc(tmp_path / "VOC2007", "VOC2007/train")


def test_the_second_column_of_an_image_set_is_not_used(tmp_path):
    annotations = {name: annotation_xml(object_xml(), filename=f"{name}.jpg") for name in ("a", "b", "c")}
    make_tree(tmp_path, annotations, image_set="a -1\n\nb  1\nc  0\n")
    assert [picture.image_id for picture in load_voc(tmp_path, "train").examples] == ["a", "b", "c"]


def test_the_picture_is_the_one_named_in_the_xml_or_else_after_it(tmp_path):
    named_after = {"a": annotation_xml(object_xml(), filename="C:\\elsewhere\\missing.jpg")}
    dataset = load_voc(make_tree(tmp_path, named_after), "train")
    assert Path(dataset.examples[0].image_path).name == "a.jpg" and dataset.problems == {}

    (tmp_path / "JPEGImages" / "a.jpg").rename(tmp_path / "JPEGImages" / "other.png")
    xml_file = tmp_path / "Annotations" / "a.xml"
    xml_file.write_text(annotation_xml(object_xml(), filename="some/where/other.png"))
    dataset = load_voc(tmp_path, "train")
    assert Path(dataset.examples[0].image_path).name == "other.png" and dataset.problems == {}

    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / "a.PNG")  # now both are there
    dataset = load_voc(tmp_path, "train")
    assert Path(dataset.examples[0].image_path).name == "other.png"
    assert dataset.problems == {OTHER_PICTURE: (str(xml_file),)}


def test_each_fault_is_counted_for_each_object(tmp_path):
    dataset = load_one(tmp_path, object_xml((5, 5, 5, 5)), object_xml((7, 7, 7, 7)), object_xml((0, 1, 9, 9)))
    file = str(tmp_path / "Annotations" / "a.xml")
    assert dataset.problems == {NO_AREA: (file, file), CLIPPED: (file,)}


BAD_IMAGE_SETS = {
    "empty": ("\n \n", r"train\.txt: the image set is empty; list one picture per line"),
    "twice": ("a\na\n", r"train\.txt, line 2: picture a is already listed in .*line 1; list each picture once"),
    "path": ("../a\n", r"train\.txt, line 1: '\.\./a' is a path; write only the name of the picture"),
    "no annotation": ("a\nb\n", r"b\.xml: annotation file not found; add the file, or remove its picture"),
    "not text": ("\udcff", r"train\.txt: cannot be read .*; save it as UTF-8"),
}


@pytest.mark.parametrize(("image_set", "message"), BAD_IMAGE_SETS.values(), ids=BAD_IMAGE_SETS)
def test_a_bad_image_set_is_named_with_its_fix(tmp_path, image_set, message):
    make_tree(tmp_path, {"a": annotation_xml(object_xml())}, image_set="")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(image_set.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=f"^{tmp_path}/.*{message}"):
        load_voc(tmp_path, "train")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("val", r"ImageSets/Main/val\.txt: image set not found; use one of the image sets of this folder: train"),
        ("", "'' is not the name of an image set; use IMAGESET or YEARDIR/IMAGESET"),
        ("train+", "'' is not the name of an image set; use IMAGESET or YEARDIR/IMAGESET"),
        ("../x/train", "'../x/train' is not the name of an image set; use IMAGESET"),
        ("../train", r"'\.\./train' is not the name of an image set; use IMAGESET"),
        ("train+train", "picture a is already listed in .*; list each picture once"),
    ],
)
def test_a_bad_split_is_named_with_its_fix(tmp_path, split, message):
    make_tree(tmp_path, {"a": annotation_xml(object_xml())})
    with pytest.raises(InputError, match=message):
        load_voc(tmp_path, split)


def test_a_folder_that_is_no_tree_is_named_with_its_fix(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path}: not a VOC tree; use a folder that holds Annotations"):
        load_voc(tmp_path, "train")
    with pytest.raises(InputError, match=f"^{tmp_path}/missing: folder not found; use the folder of a VOC tree"):
        load_voc(tmp_path / "missing", "train")


def test_a_picture_that_is_missing_is_named(tmp_path):
    make_tree(tmp_path, {"a": annotation_xml(object_xml(), filename="b.png")})
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    wanted = r"JPEGImages/b\.png or a\.jpg"
    with pytest.raises(InputError, match=rf"a\.xml, filename: picture not found: .*{wanted}; add the picture"):
        load_voc(tmp_path, "train")


def test_strict_reading_rejects_what_is_repaired_otherwise(tmp_path):
    make_tree(tmp_path, {"a": annotation_xml(object_xml((0, 1, 9, 9)))})
    with pytest.raises(InputError, match=r"Annotations/a\.xml, object 1: box extends beyond the picture; correct"):
        load_voc(tmp_path, "train", strict=True)
    make_tree(tmp_path, {"b": annotation_xml(object_xml())})  # it names a.jpg
    with pytest.raises(InputError, match=r"Annotations/b\.xml, filename: .*; write b\.jpg or rename the XML"):
        load_voc(tmp_path, "train", strict=True)


def test_the_pictures_filename_cannot_lead_out_of_the_tree(tmp_path):
    make_tree(tmp_path / "tree", {"a": annotation_xml(object_xml(), filename="../../secret.jpg")})
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "secret.jpg")
    assert Path(load_voc(tmp_path / "tree", "train").examples[0].image_path).name == "a.jpg"


@needs_real_data
@pytest.mark.parametrize(
    ("split", "count", "no_area"),
    [("train", 205, ["BloodImage_00343.xml"]), ("val", 87, ["BloodImage_00338.xml"]), ("test", 72, [])],
)
def test_blood_cells_have_exactly_two_faults(split, count, no_area):
    dataset = load_voc(REAL_DATA / "bccd", split)
    assert dataset.class_names == ("Platelets", "RBC", "WBC")
    assert len(dataset.examples) == count
    assert {kind: [Path(file).name for file in files] for kind, files in dataset.problems.items()} == (
        {NO_AREA: no_area} if no_area else {}
    )


@needs_real_data
def test_real_voc_years_are_read_without_a_fault():
    dataset = load_voc(REAL_DATA / "voc", "VOC2007/trainval+VOC2012/trainval", strict=True)
    assert list(dataset.class_names) == TWENTY_CLASSES
    assert len(dataset.examples) == 943 + 307 and dataset.problems == {}
    first = dataset.examples[0]  # its five chairs, from the XML: the first is xmin 263, ymin 211, xmax 324, ymax 339
    assert first.image_id == "VOC2007/000005" and (first.height, first.width) == (375, 500)
    assert first.boxes[0].tolist() == [210, 262, 339, 324]
    assert {dataset.class_names[index - 1] for index in first.classes} == {"chair"}
    assert first.difficult.tolist() == [False, False, True, False, True]


@needs_real_data
def test_the_real_minival_is_read():
    assert len(load_voc(REAL_DATA / "voc", "VOC2007/minival", tuple(TWENTY_CLASSES)).examples) == 300


def test_names_with_spaces_are_read_from_image_sets(tmp_path):
    names = ("my cat", "my cat 1", "dog 1", "dog")
    annotations = {name: annotation_xml(object_xml(), filename=f"{name}.jpg") for name in names}
    make_tree(tmp_path, annotations, image_set="my cat\nmy cat 1\n\ndog 1\ndog  -1\n")
    assert [picture.image_id for picture in load_voc(tmp_path, "train").examples] == list(names)
    make_tree(tmp_path, {}, image_set="my cat -1\nmy cat 1 0\n  dog   1\n")  # the last one: `dog   1` is no picture
    assert [picture.image_id for picture in load_voc(tmp_path, "train").examples] == ["my cat", "my cat 1", "dog"]


def write_sets(root, **sets):
    for name, lines in sets.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(lines))


def test_splits_leave_out_sets_of_classes_and_sets_that_join_others(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make_tree(tmp_path / year, {name: annotation_xml(object_xml()) for name in "abcde"}, image_set="a\nb\n")
    write_sets(
        tmp_path / "VOC2007", val="c", trainval="abc", cat_train=("a -1", "b  1"), test="d", blood_train="a", no=""
    )
    write_sets(tmp_path / "VOC2012", train=("a -1", "b 1"), trainval="abcd")
    sets = ("blood_train", "no", "test", "train", "val")
    assert voc.splits(Request("voc", str(tmp_path / "VOC2007"), "")) == sets
    years = (*(f"VOC2007/{name}" for name in sets), "VOC2012/train", "VOC2012/trainval")
    assert voc.splits(Request("voc", str(tmp_path), "")) == years


def test_all_is_every_picture_of_the_image_sets_once(tmp_path):
    names = "abcdef"
    make_tree(tmp_path / "VOC2007", {name: annotation_xml(object_xml(), filename=f"{name}.jpg") for name in names})
    write_sets(tmp_path / "VOC2007", train="ab", val="cba", cat_val=("f 1",), test=("d", "x"))
    make_tree(tmp_path / "VOC2012", {"a": annotation_xml(object_xml())})
    dataset = load_voc(tmp_path, ALL)
    assert [one.image_id for one in dataset.examples] == ["VOC2007/d", *(f"VOC2007/{n}" for n in "abc"), "VOC2012/a"]
    folder = tmp_path / "VOC2007" / "Annotations"
    assert dataset.problems == {NO_XML: (f"{folder}/x.xml",), UNLISTED: (f"{folder}/e.xml", f"{folder}/f.xml")}
    assert [one.image_id for one in load_voc(tmp_path / "VOC2012", ALL).examples] == ["a"]


def test_the_pictures_of_a_tree_may_lie_elsewhere(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        make_tree(tmp_path / year, {"a": annotation_xml(object_xml())})
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / year / "JPEGImages").rename(tmp_path / "pictures" / year)
    spec = DataSpec(data=f"voc:{tmp_path}", images_root=str(tmp_path / "pictures"))
    paths = [one.image_path for one in load_dataset(spec, "VOC2012/train+VOC2007/train").examples]
    assert paths == [f"{tmp_path}/pictures/VOC2012/a.jpg", f"{tmp_path}/pictures/VOC2007/a.jpg"]
    (tmp_path / "pictures" / "VOC2007").rename(tmp_path / "VOC2007" / "images")
    assert Path(load_voc(tmp_path, "VOC2007/train").examples[0].image_path).parts[-2:] == ("images", "a.jpg")


@needs_real_data
def test_the_splits_of_real_trees():
    assert voc.splits(Request("voc", str(REAL_DATA / "bccd"), "")) == ("test", "train", "val")
    assert len(load_voc(REAL_DATA / "bccd", ALL).examples) == 364
    assert voc.splits(Request("voc", str(REAL_DATA / "voc"), "")) == (
        "VOC2007/minival",
        "VOC2007/trainval",
        "VOC2012/trainval",
    )
    assert len(load_voc(REAL_DATA / "voc", ALL).examples) == 943 + 307 + 300
