"""The `--data` option: what it accepts, what it refuses, and how faults are told."""

import pytest

from keras_frcnn.data import synthetic
from keras_frcnn.data.sources import table as sources
from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.scenes import CLASS_NAMES
from keras_frcnn.facts.errors import InputError

COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.fixture
def few_pictures(tmp_path, monkeypatch):
    """Small synthetic sets, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "SYNTHETIC_COUNTS", COUNTS)
    monkeypatch.setattr(sources, "SYNTHETIC_SIZE", (120, 160))


def test_synthetic_data_are_drawn_with_their_seed(few_pictures):
    for split, count in COUNTS.items():
        dataset = sources.load_dataset("synthetic:7", split)
        assert len(dataset.examples) == count and dataset.class_names == CLASS_NAMES
        assert dataset.name == f"synthetic:7 {split}"
        assert "seed7" in dataset.examples[0].image_path
    assert len(sources.load_dataset("synthetic:7", "train+val").examples) == 5
    default = sources.load_dataset("synthetic", "test")
    assert "seed0" in default.examples[0].image_path and default.name == "synthetic test"


def test_the_given_classes_hold_for_synthetic_data_too(few_pictures):
    reverse = tuple(reversed(CLASS_NAMES))
    straight = sources.load_dataset("synthetic:7", "train")
    turned = sources.load_dataset("synthetic:7", "train", class_names=reverse)
    assert turned.class_names == reverse
    names = [[d.class_names[c - 1] for picture in d.examples for c in picture.classes] for d in (straight, turned)]
    assert names[0] == names[1] != []
    with pytest.raises(InputError, match="is not among the classes cat; "):
        sources.load_dataset("synthetic:7", "train", class_names=["cat"])


def test_an_unknown_synthetic_split_lists_the_possible_ones(few_pictures):
    with pytest.raises(InputError, match="no such image set; write one of these in the split: test, train, val"):
        sources.load_dataset("synthetic", "minival")


def test_a_voc_tree_is_read_with_its_arguments(tmp_path):
    synthetic.write_synthetic(tmp_path / "tree", {"train": 2}, seed=0, size=(120, 160))
    data = f"voc:{tmp_path}/tree"
    dataset = sources.load_dataset(data, "train")
    assert dataset.name == f"{data} train" and len(dataset.examples) == 2

    (first, *_) = sorted((tmp_path / "tree" / "Annotations").iterdir())
    first.write_text(first.read_text().replace("<width>160</width>", "<width>161</width>"))
    assert list(sources.load_dataset(data, "train").problems.values()) == [(str(first),)]
    with pytest.raises(InputError, match="write the width 160"):
        sources.load_dataset(data, "train", strict=True)
    with pytest.raises(InputError, match="is not among the classes cat; "):
        sources.load_dataset(data, "train", class_names=["cat"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("coco:/data", r"^data 'coco:/data': is no source of data; give voc:PATH, synthetic or synthetic:SEED$"),
        ("", "is no source of data; give voc:PATH"),
        ("/data/voc", "is no source of data; give voc:PATH"),
        ("voc", "has no folder; give voc:PATH"),
        ("voc:", "has no folder; give voc:PATH"),
        ("voc:/does/not/exist", "^/does/not/exist: is no folder; give the folder of a VOC tree"),
        ("synthetic:", "'' is no seed; give synthetic, or synthetic:SEED"),
        ("synthetic:-1", "'-1' is no seed; give synthetic, or synthetic:SEED"),
        ("synthetic:one", "'one' is no seed; give synthetic, or synthetic:SEED"),
    ],
)
def test_other_data_are_refused_with_what_is_possible(few_pictures, data, message):
    with pytest.raises(InputError, match=message):
        sources.load_dataset(data, "train")


def test_problems_are_told_in_one_line_a_kind():
    problems = {
        "no area: dropped": ("/d/a.xml", "/d/a.xml", "/d/b.xml"),
        "clipped": tuple(f"/d/{name}.xml" for name in "pqrstq"),
    }
    assert sources.describe_problems(Dataset("voc:/d train", ("cat",), (), problems)) == [
        "voc:/d train: no area: dropped: 3 in a.xml, b.xml",
        "voc:/d train: clipped: 6 in p.xml, q.xml, r.xml and 2 more",
    ]
    assert sources.describe_problems(Dataset("voc:/d train", ("cat",), (), {})) == []
