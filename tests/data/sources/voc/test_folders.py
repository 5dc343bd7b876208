"""Pictures and XML files without image sets: every layout that tools write, and what is ambiguous in them."""

import os

import pytest
from PIL import Image

from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.data.sources.voc.folders import NO_XML
from keras_frcnn.data.sources.voc.pictures import OTHER_PICTURE, SEVERAL_PICTURES, nearness
from keras_frcnn.facts.errors import InputError

HEIGHT, WIDTH = 40, 60


def annotation_xml(filename="", name="cat", size=True, extra=""):
    stated = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>" if size else ""
    box = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    found = f"<object><name>{name}</name>{box}</object>"
    return f"<annotation>{extra}<filename>{filename}</filename>{stated}{found}</annotation>"


def make(root, *files, **texts):
    """Write pictures and XML files at these paths below `root`; an XML file states no file name."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".xml":
            path.write_text(annotation_xml(**texts))
        else:
            # The colour tells pictures apart.
            Image.new("RGB", (WIDTH, HEIGHT), (len(file), 0, 0)).save(path, "PNG" if ".png" in file else "JPEG")
    return root


def load(root, split=ALL, **settings):
    return load_dataset(DataSpec(data=f"voc:{root}", **settings), split)


def found(root, split=ALL, **settings):
    """Identifier -> path of the picture below `root`."""
    dataset = load(root, split, **settings)
    return {one.image_id: os.path.relpath(one.image_path, root) for one in dataset.examples}


def splits(root, **settings):
    return dataset_splits(DataSpec(data=f"voc:{root}", **settings))


LAYOUTS = {
    "one folder": (("1.jpg", "1.xml", "2.jpg", "2.xml"), (), {"1": "1.jpg", "2": "2.jpg"}),
    "two folders": (("images/1.jpg", "annotations/1.xml"), (), {"1": "images/1.jpg"}),
    "two folders, one inside": (("images/1.jpg", "annotations/xmls/1.xml"), (), {"1": "images/1.jpg"}),
    "VOC's folders without image sets": (("JPEGImages/1.jpg", "Annotations/1.xml"), (), {"1": "JPEGImages/1.jpg"}),
    "years without image sets": (
        (
            "VOC2007/JPEGImages/1.jpg",
            "VOC2007/Annotations/1.xml",
            "VOC2012/JPEGImages/1.jpg",
            "VOC2012/Annotations/1.xml",
        ),
        ("VOC2007", "VOC2012"),
        {"VOC2007/1": "VOC2007/JPEGImages/1.jpg", "VOC2012/1": "VOC2012/JPEGImages/1.jpg"},
    ),
    "a folder for each split": (
        ("train/1.jpg", "train/1.xml", "valid/1.jpg", "valid/1.xml", "test/2.jpg", "test/2.xml"),
        ("test", "train", "valid"),
        {"train/1": "train/1.jpg", "valid/1": "valid/1.jpg", "test/2": "test/2.jpg"},
    ),
    "two folders in each split": (
        ("train/images/1.jpg", "train/xml/1.xml", "val/images/1.jpg", "val/xml/1.xml"),
        ("train", "val"),
        {"train/1": "train/images/1.jpg", "val/1": "val/images/1.jpg"},
    ),
    "the splits inside two folders": (
        ("images/train/1.jpg", "labels/train/1.xml", "images/val/1.jpg", "labels/val/1.xml"),
        ("train", "val"),
        {"train/1": "images/train/1.jpg", "val/1": "images/val/1.jpg"},
    ),
    "only the pictures are split": (
        ("images/train/1.jpg", "images/val/2.jpg", "xml/1.xml", "xml/2.xml"),
        ("train", "val"),
        {"1": "images/train/1.jpg", "2": "images/val/2.jpg"},
    ),
    "only the annotations are split": (
        ("images/1.jpg", "images/2.jpg", "xml/train/1.xml", "xml/val/2.xml"),
        ("train", "val"),
        {"train/1": "images/1.jpg", "val/2": "images/2.jpg"},
    ),
    "a folder around the splits": (
        ("export/train/1.jpg", "export/train/1.xml", "export/test/1.jpg", "export/test/1.xml"),
        ("test", "train"),
        {"train/1": "export/train/1.jpg", "test/1": "export/test/1.jpg"},
    ),
    "folders in a split": (
        ("train/a/1.jpg", "train/a/1.xml", "train/b/1.jpg", "train/b/1.xml", "val/a/1.jpg", "val/a/1.xml"),
        ("train", "val"),
        {"train/a/1": "train/a/1.jpg", "train/b/1": "train/b/1.jpg", "val/a/1": "val/a/1.jpg"},
    ),
    "one split only": (("train/1.jpg", "train/1.xml"), ("train",), {"1": "train/1.jpg"}),
    "names with spaces and dots": (
        ("my pictures/a b.c.jpg", "my labels/a b.c.xml"),
        (),
        {"a b.c": "my pictures/a b.c.jpg"},
    ),
    "suffixes in any case": (
        ("1.JPG", "1.xml", "2.jpg", "2.XML", "3.Png", "3.xml", "4.JPEG", "4.xml"),
        (),
        {"1": "1.JPG", "2": "2.jpg", "3": "3.Png", "4": "4.JPEG"},
    ),
    "folders in another order": (
        ("a/b/1.jpg", "a/b/1.xml", "b/a/1.jpg", "b/a/1.xml"),
        (),
        {"a/b/1": "a/b/1.jpg", "b/a/1": "b/a/1.jpg"},
    ),
    "files of a Mac": (("1.jpg", "1.xml", "._1.xml", "__MACOSX/1.xml", ".cache/1.xml"), (), {"1": "1.jpg"}),
}


@pytest.mark.parametrize(("files", "names", "pictures"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_is_read(tmp_path, files, names, pictures):
    make(tmp_path, *files)
    assert found(tmp_path) == pictures
    assert load(tmp_path).problems == {}
    assert splits(tmp_path) == names
    parts = [found(tmp_path, name) for name in names]
    assert not parts or {key: path for part in parts for key, path in part.items()} == pictures  # the same identifiers
    assert not parts or sum(map(len, parts)) == len(pictures)


def test_a_folder_at_any_depth_can_be_a_split(tmp_path):
    make(tmp_path, *LAYOUTS["folders in a split"][0])
    assert set(found(tmp_path, "train")) == {"train/a/1", "train/b/1"}
    assert set(found(tmp_path, "train/b")) == {"train/b/1"} == set(found(tmp_path, "b/"))
    assert set(found(tmp_path, "a")) == {"train/a/1", "val/a/1"}
    assert list(found(tmp_path, "val+b")) == ["val/a/1", "train/b/1"]
    with pytest.raises(InputError, match=r"^split 'train\+b': picture train/b/1 is in two of the folders; list each"):
        load(tmp_path, "train+b")
    with pytest.raises(
        InputError, match=r"^split 'rain': .*no folder of that name .*; use one of its folders: train, val"
    ):
        load(tmp_path, "rain")
    with pytest.raises(InputError, match=r"^split 'train\+\.\./x': '\.\./x' is not the name of a folder; use the name"):
        load(tmp_path, "train+../x")


def test_val_also_means_valid_if_there_is_only_that(tmp_path):
    make(tmp_path, "train/1.jpg", "train/1.xml", "valid/1.jpg", "valid/1.xml")
    assert list(found(tmp_path, "val")) == list(found(tmp_path, "valid")) == ["valid/1"]
    make(tmp_path, "validation/1.jpg", "validation/1.xml")
    with pytest.raises(InputError, match="^split 'val': .*use one of its folders: train, valid, validation; or"):
        load(tmp_path, "val")
    make(tmp_path, "val/1.jpg", "val/1.xml")
    assert list(found(tmp_path, "val")) == ["val/1"]


def test_without_folders_for_splits_the_fix_is_to_make_some(tmp_path):
    make(tmp_path, "1.jpg", "1.xml")
    with pytest.raises(InputError, match=r"^split 'train': .*; it has no folders for splits: let --split-by 0\.8/0\.1"):
        load(tmp_path, "train")


def test_an_xml_without_size_takes_that_of_the_picture(tmp_path):
    make(tmp_path, "1.jpg", "1.xml", size=False)
    dataset = load(tmp_path, strict=True)
    (picture,) = dataset.examples
    assert (picture.height, picture.width) == (HEIGHT, WIDTH) and dataset.problems == {}
    assert picture.boxes.tolist() == [[20, 10, 40, 30]]


def test_what_labelimg_writes_of_another_machine_is_not_used(tmp_path):
    other = "<folder>Desktop</folder><path>C:\\Users\\me\\Desktop\\a b.JPG</path>"
    make(tmp_path, "a b.JPG", "a b.xml", filename="a b.JPG", extra=other)
    make(tmp_path, "c.JPG", "c.xml", filename="c.jpg")
    make(tmp_path, "d.jpg", "d.xml", filename="d")  # it leaves out the suffix of some pictures
    make(tmp_path, "e.JPG", "renamed.xml", filename="e.jpg")
    assert found(tmp_path) == {"a b": "a b.JPG", "c": "c.JPG", "d": "d.jpg", "renamed": "e.JPG"}
    assert load(tmp_path).problems == {}


def test_a_filename_wins_in_its_folder_and_not_in_a_farther_one(tmp_path):
    make(tmp_path, "train/1.jpg", "train/2.jpg", "valid/1.jpg", "train/2.xml", "valid/1.xml")
    make(tmp_path, "train/1.xml", filename="2.jpg")
    (tmp_path / "train/2.xml").unlink()
    make(tmp_path, "valid/9.jpg")
    make(tmp_path, "valid/9.xml", filename="2.jpg")  # this picture lies in train only
    assert found(tmp_path) == {"train/1": "train/2.jpg", "valid/1": "valid/1.jpg", "valid/9": "valid/9.jpg"}
    assert load(tmp_path).problems == {
        OTHER_PICTURE: (f"{tmp_path}/train/1.xml",),
    }


def test_a_picture_without_xml_is_counted_and_left_out(tmp_path):
    make(
        tmp_path,
        "train/1.jpg",
        "train/1.xml",
        "train/2.jpg",
        "valid/1.jpg",
        "valid/1.xml",
        "other/3.png",
        "notes.txt.png",
    )
    assert load(tmp_path, "valid").problems == {}
    assert load(tmp_path, "train").problems == {NO_XML: (f"{tmp_path}/train/2.jpg",)}
    problems = load(tmp_path, strict=True).problems
    assert problems == {NO_XML: tuple(f"{tmp_path}/{name}" for name in ("notes.txt.png", "other/3.png", "train/2.jpg"))}
    make(tmp_path, "train/3.xml", filename="2.jpg")  # the picture has another name than its XML
    assert load(tmp_path, "train").problems == {}


def test_an_xml_without_picture_is_named(tmp_path):
    make(tmp_path, "train/1.jpg", "train/1.xml", "train/2.xml")
    with pytest.raises(
        InputError, match=rf"^{tmp_path}/train/2\.xml, filename: picture not found: .*; add the picture"
    ):
        load(tmp_path, "train")


def test_of_two_pictures_in_one_folder_the_jpeg_is_used_and_it_is_said(tmp_path):
    make(tmp_path, "1.jpg", "1.png", "1.xml")
    assert found(tmp_path) == {"1": "1.jpg"}
    assert load(tmp_path).problems[SEVERAL_PICTURES] == (f"{tmp_path}/1.xml",)
    make(tmp_path, "1.xml", filename="1.png")
    assert found(tmp_path) == {"1": "1.png"} and SEVERAL_PICTURES not in load(tmp_path).problems


def test_copies_in_two_folders_are_an_error_until_one_is_named(tmp_path):
    make(tmp_path, "full/1.jpg", "small/1.jpg", "xml/1.xml")
    message = (
        rf"^{tmp_path}/xml/1\.xml: several pictures have its name: {tmp_path}/full/1\.jpg, {tmp_path}/small/1\.jpg; "
    )
    with pytest.raises(InputError, match=message + ".*--images-root"):
        load(tmp_path)
    assert found(tmp_path, images_root=str(tmp_path / "small")) == {"1": "small/1.jpg"}
    make(tmp_path, "xml/1.jpg")  # beside the XML: no doubt
    assert found(tmp_path) == {"1": "xml/1.jpg"}


def test_a_copy_in_a_deeper_folder_is_not_used_and_it_is_said(tmp_path):
    make(tmp_path, "images/1.jpg", "images/small/1.jpg", "xml/1.xml")
    assert found(tmp_path) == {"1": "images/1.jpg"}
    assert load(tmp_path).problems[SEVERAL_PICTURES] == (f"{tmp_path}/xml/1.xml",)


def test_two_xml_files_of_one_picture_are_an_error_until_one_is_named(tmp_path):
    make(tmp_path, "images/1.jpg", "new/1.xml", "old/1.xml")
    message = rf"^{tmp_path}/old/1\.xml: picture {tmp_path}/images/1\.jpg has another XML file, {tmp_path}/new/1\.xml; "
    with pytest.raises(InputError, match=message):
        load(tmp_path)
    assert found(tmp_path, "new") == {"new/1": "images/1.jpg"}


def test_pictures_in_another_place(tmp_path):
    make(tmp_path / "pictures", "train/1.jpg", "val/1.jpg", "val/2.jpg")
    make(tmp_path / "xml", "train/1.xml", "val/1.xml")
    root = str(tmp_path / "pictures")
    expected = {"train/1": "../pictures/train/1.jpg", "val/1": "../pictures/val/1.jpg"}
    assert found(tmp_path / "xml", images_root=root) == expected
    assert splits(tmp_path / "xml", images_root=root) == ("train", "val")
    assert load(tmp_path / "xml", "val", images_root=root).problems == {NO_XML: (f"{root}/val/2.jpg",)}
    with pytest.raises(InputError, match=r"^--images-root .*nothing: folder not found; use the folder of the pictures"):
        load(tmp_path / "xml", images_root=str(tmp_path / "nothing"))


def test_links_to_folders_are_followed_once(tmp_path):
    make(tmp_path / "elsewhere", "1.jpg")
    make(tmp_path / "data", "xml/1.xml")
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert found(tmp_path / "data") == {"1": "images/1.jpg"}


def test_a_folder_without_xml_says_what_it_holds(tmp_path):
    make(tmp_path, "a/1.jpg", "a/2.jpg")
    (tmp_path / "a" / "1.txt").touch()
    with pytest.raises(InputError, match=r"not a VOC tree; use a folder that .*it holds 2 x \.jpg, 1 x \.txt\)$"):
        load(tmp_path)


def test_another_kind_of_xml_is_named(tmp_path):
    make(tmp_path, "1.jpg", "1.xml")
    (tmp_path / "cvat.xml").write_text("<annotations/>")
    with pytest.raises(
        InputError, match=rf"^{tmp_path}/cvat\.xml: not a VOC annotation: the root element is <annotations>"
    ):
        load(tmp_path)


@pytest.mark.parametrize("sets", ["ImageSets/train.txt", "ImageSets/Main/train.txt", "ImageSets/Action/train.txt"])
def test_image_sets_that_cannot_be_used_are_not_passed_over(tmp_path, sets):
    make(tmp_path, "images/1.jpg", "xml/1.xml")
    (tmp_path / sets).parent.mkdir(parents=True)
    (tmp_path / sets).write_text("1\n")
    with pytest.raises(
        InputError,
        match=rf"^{tmp_path}: not a VOC tree: it has image sets, but not both .*; rename the folder .*remove",
    ):
        load(tmp_path)
    (tmp_path / sets).unlink()
    assert found(tmp_path) == {"1": "images/1.jpg"}


def test_nearness_by_hand():
    train = ("train", "xml")
    assert nearness(train, train) == (True, 2)
    assert nearness(("train", "images"), train) == (False, 1)
    assert nearness(("images",), ("xml",)) == nearness((), ("xml",)) == (False, 0)
    assert nearness(("images", "train"), ("xml", "train")) == (False, 1)
    assert nearness(("a", "images", "train"), ("a", "xml", "train")) == (False, 2)
    # No part counts twice, at the start and at the end.
    assert nearness(("a",), ("a", "b", "a")) == nearness(("a", "b", "a"), ("a",)) == (False, 1)
