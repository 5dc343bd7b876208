"""Which splits are examined, and what the first one decides for the others."""

from PIL import Image

from keras_frcnn.data.doctor import findings, splits
from keras_frcnn.data.doctor.splits import load_splits
from keras_frcnn.data.sources.loading import divide_data
from keras_frcnn.data.sources.spec import DataSpec


def load(tree, names=None):
    datasets, found = load_splits(DataSpec(data=f"voc:{tree.root}"), names, "auto")
    return {name: len(dataset.examples) for name, dataset in datasets.items()}, found


def write_split(tree, name, lines):
    (tree.root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def ids(split, count, start=0):
    return [f"{split}_{number:06d}" for number in range(start, start + count)]


def test_named_splits_are_all_examined_in_their_order(tree):
    write_split(tree, "trainval", ids("train", 30) + ids("val", 14))
    sizes, found = load(tree, ["val", "trainval", "train"])
    assert list(sizes) == ["val", "trainval", "train"] and not found


def test_what_the_first_split_says_about_orientation_holds_for_the_others(tree):
    """In train the stated size is that of the stored picture, in val that of the turned one."""
    for name in ("train_000001", "val_000001"):
        with Image.open(tree.picture(name)) as image:
            tags = Image.Exif()
            tags[0x0112] = 6
            image.save(tree.picture(name), quality=95, exif=tags)

    def swap(root):
        height, width = root.find("size/height"), root.find("size/width")
        height.text, width.text = width.text, height.text

    tree.edit("val_000001", swap)
    datasets, _ = load_splits(DataSpec(data=f"voc:{tree.root}"), ["train", "val"], "auto")
    assert [dataset.exif for dataset in datasets.values()] == ["ignore", "ignore"]
    assert any(kind.startswith("stated size") for kind in datasets["val"].problems)


def test_errors_name_the_files_and_the_rest_is_examined(tree):
    tree.annotation("train_000001").unlink()
    tree.picture("val_000001").write_bytes(b"")
    sizes, (finding,) = load(tree)
    assert sizes == {"train": 29, "val": 13}
    assert finding.kind is findings.UNUSABLE and finding.occurrences == 2
    assert finding.files == (str(tree.annotation("train_000001")), str(tree.picture("val_000001")))
    assert "annotation file not found" in finding.detail


def test_classes_of_a_split_without_objects(tree):
    """Its class names are those of the first split."""
    write_split(tree, "val", ["val_000001"])
    tree.edit("val_000001", lambda root: [root.remove(element) for element in root.findall("object")])
    datasets, found = load_splits(DataSpec(data=f"voc:{tree.root}"), ["train", "val"], "auto")
    assert datasets["val"].class_names == datasets["train"].class_names and not found


def test_shares_divide_the_data_once(tree, monkeypatch):
    """Dividing compares all pictures, so it must not be repeated for each split."""
    calls = []
    monkeypatch.setattr(splits, "divide_data", lambda *a, **k: calls.append(1) or divide_data(*a, **k))
    datasets, found = load_splits(DataSpec(data=f"voc:{tree.root}", split_by="0.5/0.5"), None, "auto")
    sizes = {name: len(dataset.examples) for name, dataset in datasets.items()}
    assert list(sizes) == ["train", "val"] and sum(sizes.values()) == 44 and min(sizes.values()) > 15
    assert len(calls) == 1 and not found
