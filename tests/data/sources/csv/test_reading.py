"""CSV files: columns, rows, files of splits, and faults with their file, line and field."""

import numpy as np
import pytest
from PIL import Image

from keras_frcnn.data.sources.csv import columns as csv_columns
from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import InputError

TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.fixture
def folder(tmp_path):
    """A folder with three pictures of 40 x 60 pixels."""
    for name in ("a.jpg", "b.jpg", "pictures/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    return tmp_path


def read(folder, text, name="labels.csv", split="all", encoding="utf-8", **options):
    (folder / name).write_text(text, encoding=encoding)
    return load_dataset(DataSpec(data=f"csv:{folder / name}", **options), split)


def boxes(dataset):
    return [example.boxes.tolist() for example in dataset.examples]


def test_rows_without_a_header_are_edges_counted_from_0(folder):
    dataset = read(folder, "a.jpg,1,2,30,40,cat\nb.jpg,,,,,\na.jpg,0.5,0,60,1.25,dog\n")
    assert [example.image_id for example in dataset.examples] == ["a", "b"]
    assert boxes(dataset) == [[[2, 1, 40, 30], [0, 0.5, 1.25, 60]], []]
    assert dataset.class_names == ("cat", "dog") and not dataset.problems
    assert [example.classes.tolist() for example in dataset.examples] == [[1, 2], []]


def test_tensorflows_rows_are_pixels_counted_from_1(folder):
    dataset = read(folder, f"{TENSORFLOW}\na.jpg,60,40,cat,1,2,30,40\npictures/c.jpg,60,40,,,,,\n")
    assert [example.image_id for example in dataset.examples] == ["a", "pictures/c"]
    assert boxes(dataset) == [[[1, 0, 40, 30]], []]
    assert not dataset.problems


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("path,x1,y1,x2,y2,class", [1, 0, 40, 30]),
        ("Image_Path,X1,Y1,X2,Y2,Label", [1, 0, 40, 30]),
        ("image,x_min,y_min,x_max,y_max,class_name", [0, -1, 40, 30]),
    ],
)
def test_headers_have_several_names(folder, header, first):
    dataset = read(folder, f"{header}\na.jpg,0,1,30,40,cat\n")
    assert boxes(dataset) == [[np.clip(first, 0, None).tolist()]]
    assert (csv_columns.NO_SIZES in dataset.problems) == ("min" in header)


def test_columns_in_another_order_and_more_of_them(folder):
    dataset = read(folder, "class,ymax,xmax,ymin,xmin,note,height,width,filename\ncat,40,30,2,1,hi,40,60,a.jpg\n")
    assert boxes(dataset) == [[[1, 0, 40, 30]]]


def test_tensorflows_columns_without_a_header_are_recognised_and_stated(folder):
    dataset = read(folder, "a.jpg,60,40,cat,1,2,30,40\n")
    assert boxes(dataset) == [[[1, 0, 40, 30]]]
    assert list(dataset.problems) == [csv_columns.NO_HEADER]


def test_names_with_commas_quotes_and_line_breaks(folder):
    odd = 'd, "e"\nf.jpg'
    Image.new("RGB", (60, 40)).save(folder / odd)
    quoted = odd.replace('"', '""')
    dataset = read(folder, f'"{quoted}",1,2,30,40,"a ""b"", c"\n a.jpg, 1, 2, 30, 40, cat\n', encoding="utf-8-sig")
    assert [example.image_id for example in dataset.examples] == [odd.removesuffix(".jpg"), "a"]
    assert dataset.class_names == ('a "b", c', "cat")


def test_pictures_that_differ_only_in_the_suffix_keep_it(folder):
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    dataset = read(folder, "a.jpg,,,,,\na.png,1,2,3,4,cat\nb.jpg,,,,,\n")
    assert [example.image_id for example in dataset.examples] == ["a.jpg", "a.png", "b"]


def test_absolute_paths_and_paths_of_windows(folder):
    dataset = read(folder, f"{folder}/a.jpg,1,2,3,4,cat\npictures\\c.jpg,,,,,\n../{folder.name}/b.jpg,,,,,\n")
    ids = [example.image_id for example in dataset.examples]
    assert ids == [f"{folder}/a".lstrip("/"), "pictures\\c", f"{folder.name}/b"]


def test_the_class_file_gives_the_order_of_the_classes(folder):
    (folder / "classes.csv").write_text("hen,2\ndog,0\ncat,1\n")
    assert read(folder, "a.jpg,1,2,30,40,cat\n").class_names == ("dog", "cat", "hen")
    with pytest.raises(InputError, match=r"labels.csv, picture a.jpg, line 1: class 'cow' is not one of the classes"):
        read(folder, "a.jpg,1,2,30,40,cow\n")


@pytest.mark.parametrize("text", ["cat\n", "cat,x\n", "cat,0\ndog,0\n", "cat,0\ncat,1\n"])
def test_a_faulty_class_file_names_its_line(folder, text):
    (folder / "classes.csv").write_text(text)
    with pytest.raises(InputError, match=r"classes.csv, line [12]"):
        read(folder, "a.jpg,1,2,30,40,cat\n")


def test_a_folder_has_a_file_for_each_split(folder):
    (folder / "train_labels.csv").write_text("a.jpg,1,2,30,40,cat\n")
    (folder / "val.csv").write_text("b.jpg,1,2,30,40,cat\n")
    (folder / "classes.csv").write_text("cat,0\n")
    (folder / "pictures" / "_annotations.csv").write_text(f"{TENSORFLOW}\nc.jpg,60,40,cat,1,2,30,40\n")
    spec = DataSpec(data=f"csv:{folder}")
    assert dataset_splits(spec) == ("pictures", "train", "val")
    ids = {
        split: [example.image_id for example in load_dataset(spec, split).examples]
        for split in ("train", "val+train", "pictures", "all")
    }
    assert ids == {
        "train": ["a"],
        "val+train": ["val/b", "train/a"],
        "pictures": ["c"],
        "all": ["pictures/c", "train/a", "val/b"],
    }
    with pytest.raises(InputError, match=r"split 'test': the data has no such split; use one of: pictures, train, val"):
        load_dataset(spec, "test")
    (folder / "train.csv").write_text("a.jpg,1,2,30,40,cat\n")
    with pytest.raises(InputError, match=r"train.csv and train_labels.csv are both the split train"):
        load_dataset(spec, "train")


def test_a_picture_in_two_splits(folder):
    for name in ("train", "val"):
        (folder / f"{name}.csv").write_text("a.jpg,1,2,30,40,cat\n")
    spec = DataSpec(data=f"csv:{folder}")
    assert len(load_dataset(spec, "all").examples) == 1
    with pytest.raises(InputError, match=r"val.csv, picture a.jpg: the same file as .*train.csv, picture a.jpg"):
        load_dataset(spec, "train+val")


def test_a_single_file_has_no_splits(folder):
    read(folder, "a.jpg,1,2,30,40,cat\n")
    assert dataset_splits(DataSpec(data=f"csv:{folder}/labels.csv")) == ()
    with pytest.raises(InputError, match=r"split 'train': the data has no such split; use one of: all"):
        read(folder, "a.jpg,1,2,30,40,cat\n", split="train")


def test_rows_with_other_sizes_are_counted(folder):
    dataset = read(folder, f"{TENSORFLOW}\na.jpg,60,40,cat,1,2,30,40\na.jpg,61,40,cat,1,2,30,40\n")
    assert [len(files) for files in dataset.problems.values()] == [1]
    with pytest.raises(InputError, match=r"labels.csv, line 3: rows of one picture state different sizes"):
        read(folder, f"{TENSORFLOW}\na.jpg,60,40,cat,1,2,30,40\na.jpg,61,40,cat,1,2,30,40\n", strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv: the file is empty"),
        ("path,x1,y1,x2,y2,class\n", r"there are no rows"),
        ("a.jpg,1,2,30,cat\n", r"labels.csv, line 1: the 5 columns are not known"),
        ("a.jpg,1,2,1_0,40,cat\n", r"labels.csv, line 1: the 6 columns are not known"),
        ("a.jpg,1,2,x,40,cat\n", r"labels.csv, line 1: the 6 columns are not known"),
        ("a.jpg;1;2;30;40;cat\n", r"labels.csv, line 1: the 1 columns are not known"),
        (
            "a.jpg,1,2,30,40,cat\n\nb.jpg,1,2,x,40,cat\n",
            r"labels.csv, line 3, x2: expected a finite .* \(got .x.\)",
        ),
        ('"c\nd.jpg",1,2,30,40,cat\nb.jpg,1,2,x,40,cat\n', r"labels.csv, line 3, x2: expected a finite number"),
        ("a.jpg,1,2,30,40,cat\nb.jpg,1,2,nan,40,cat\n", r"labels.csv, line 2, x2: expected a finite number"),
        ("a.jpg,1,2,30,40,cat\nb.jpg,1,,30,40,cat\n", r"labels.csv, line 2, y1: expected a finite number \(got ''\)"),
        ("a.jpg,1,2,30,40,cat\nb.jpg,1,2,30,40,\n", r"labels.csv, line 2, class: the field is empty"),
        ("a.jpg,1,2,30,40,cat\n,1,2,30,40,cat\n", r"labels.csv, line 2, picture: missing or invalid path"),
        ("a.jpg,1,2,30,40,cat\nb.jpg,1,2,30,40,a,b\n", r"labels.csv, line 2: 7 fields instead of 6"),
        ('a.jpg,1,2,30,40,cat\nb.jpg,1,2,30,40,"a" b\n', r"labels.csv, line 2: not a row of CSV"),
        (
            "a.jpg,1,2,30,40,cat\ne.jpg,1,2,30,40,cat\n",
            r"labels.csv, picture e.jpg: picture not found: .*e.jpg; ",
        ),
        (f"{'e' * 300}.jpg,1,2,30,40,cat\n", r"labels.csv, picture e+.jpg: picture not found: "),
        ("e\0.jpg,1,2,30,40,cat\n", r"labels.csv, line 1, picture: missing or invalid path"),
        (f"{TENSORFLOW}\na.jpg,60,40,cat,1,two,30,40\n", r"labels.csv, line 2, ymin: expected a finite number"),
        (f"{TENSORFLOW}\na.jpg,wide,40,cat,1,2,30,40\n", r"labels.csv, line 2, width: expected a finite number"),
        (f"{TENSORFLOW},score\na.jpg,60,40,cat,1,2,30,40,0.5\n", r"line 1: the column score makes the rows detections"),
        ("a.jpg,1,2,30,40,cat,0.9\n", r"line 1: 7 columns instead of 6: one with scores would make them detections"),
        ("x1,y1,x2,y2,class\n1,2,30,40,cat\n", r"line 1: the header names no column for the picture"),
        ("path,x1,y1,x2,y2\na.jpg,1,2,30,40\n", r"line 1: the header names no column for the class"),
    ],
)
def test_faults_name_file_line_and_field(folder, text, message):
    with pytest.raises(InputError, match=message):
        read(folder, text)


def test_a_file_that_is_not_utf8(folder):
    with pytest.raises(InputError, match=r"labels.csv, line \d+ or after it: not UTF-8"):
        read(folder, "a.jpg,1,2,30,40,Käfer\n", encoding="latin-1")
    with pytest.raises(InputError, match="not found"):
        load_dataset(DataSpec(data=f"csv:{folder}/none.csv"), "all")
    with pytest.raises(InputError, match="the path is missing"):
        load_dataset(DataSpec(data="csv"), "all")
    with pytest.raises(InputError, match="the folder holds no CSV file"):
        load_dataset(DataSpec(data=f"csv:{folder}/pictures"), "all")
