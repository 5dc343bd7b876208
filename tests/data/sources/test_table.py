"""The `--data` option: what it accepts, what it rejects, and how problems are described."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources import drawn, table
from keras_frcnn.data.sources.scenes import CLASS_NAMES
from keras_frcnn.facts.errors import InputError

COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.fixture
def few_pictures(tmp_path, monkeypatch):
    """Small synthetic sets, in a cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(drawn, "PICTURE_COUNTS", COUNTS)
    monkeypatch.setattr(drawn, "PICTURE_SIZE", (120, 160))


def test_synthetic_data_are_drawn_with_their_seed(few_pictures):
    for split, count in COUNTS.items():
        dataset = table.load_dataset("synthetic:7", split)
        assert len(dataset.examples) == count and dataset.class_names == CLASS_NAMES
        assert dataset.name == f"synthetic:7 {split}"
        assert "seed7" in dataset.examples[0].image_path
    assert len(table.load_dataset("synthetic:7", "train+val").examples) == 5
    default = table.load_dataset("synthetic", "test")
    assert "seed0" in default.examples[0].image_path and default.name == "synthetic test"


def test_class_names_apply_to_synthetic_data_too(few_pictures):
    reverse = tuple(reversed(CLASS_NAMES))
    straight = table.load_dataset("synthetic:7", "train")
    turned = table.load_dataset("synthetic:7", "train", class_names=reverse)
    assert turned.class_names == reverse
    names = [[d.class_names[c - 1] for picture in d.examples for c in picture.classes] for d in (straight, turned)]
    assert names[0] == names[1] != []
    with pytest.raises(InputError, match="is not one of the classes cat; "):
        table.load_dataset("synthetic:7", "train", class_names=["cat"])


def test_an_unknown_synthetic_split_lists_the_possible_ones(few_pictures):
    message = "image set not found; use one of the image sets of this folder: test, train, val"
    with pytest.raises(InputError, match=message):
        table.load_dataset("synthetic", "minival")


def test_a_voc_tree_is_read_with_its_arguments(tmp_path):
    drawn.write_synthetic(tmp_path / "tree", {"train": 2}, seed=0, size=(120, 160))
    data = f"voc:{tmp_path}/tree"
    dataset = table.load_dataset(data, "train")
    assert dataset.name == f"{data} train" and len(dataset.examples) == 2

    (first, *_) = sorted((tmp_path / "tree" / "Annotations").iterdir())
    first.write_text(first.read_text().replace("<width>160</width>", "<width>161</width>"))
    assert list(table.load_dataset(data, "train").problems.values()) == [(str(first),)]
    with pytest.raises(InputError, match="write width 160 and height 120"):
        table.load_dataset(data, "train", strict=True)
    with pytest.raises(InputError, match="is not one of the classes cat; "):
        table.load_dataset(data, "train", class_names=["cat"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("no:/data", r"^--data 'no:/data': unknown kind of data source; use voc:PATH or .*synthetic\[:SEED\]"),
        ("", "unknown kind of data source; use voc:PATH"),
        ("/data/voc", "unknown kind of data source; use voc:PATH"),
        ("VOC:/data", "unknown kind of data source; use voc:PATH"),
        ("voc", "^--data voc: the path of the VOC tree is missing; use voc:PATH$"),
        ("voc:", "^--data voc: the path of the VOC tree is missing; use voc:PATH$"),
        ("voc:/does/not/exist", "^/does/not/exist: folder not found; use the folder of a VOC tree$"),
        ("synthetic:", r"^--data synthetic: expected a seed of at least 0 \(got ''\); use synthetic or synthetic:SEED"),
        ("synthetic:-1", r"expected a seed of at least 0 \(got '-1'\); use synthetic or synthetic:SEED"),
        ("synthetic:one", r"expected a seed of at least 0 \(got 'one'\); use synthetic or synthetic:SEED"),
        ("synthetic:\u0663", "expected a seed of at least 0"),  # an Arabic digit
    ],
)
def test_other_data_are_rejected_with_the_kinds_that_exist(few_pictures, data, message):
    with pytest.raises(InputError, match=message):
        table.load_dataset(data, "train")


def test_each_kind_of_problem_is_one_line():
    problems = {
        "no area: dropped": ("/d/a.xml", "/d/a.xml", "/d/b.xml"),
        "clipped": tuple(f"/d/{name}.xml" for name in "pqrstq"),
    }
    assert table.describe_problems(Dataset("voc:/d train", ("cat",), (), problems)) == [
        "voc:/d train: no area: dropped: 3 in a.xml, b.xml",
        "voc:/d train: clipped: 6 in p.xml, q.xml, r.xml and 2 more",
    ]
    assert table.describe_problems(Dataset("voc:/d train", ("cat",), (), {})) == []


@pytest.mark.parametrize(
    ("class_names", "message"),
    [
        ([], r"expected a list of non-empty names \(got \[\]\)"),
        (["cat", ""], "expected a list of non-empty names"),
        ("cat", r"expected a list of non-empty names \(got 'cat'\)"),
        (["hen", "cat", "dog", "hen", "cat"], "cat, hen occurs more than once; name each class once"),
    ],
)
def test_bad_class_names_are_rejected_before_anything_is_read(few_pictures, tmp_path, class_names, message):
    with pytest.raises(InputError, match=f"^class names: {message}"):
        table.load_dataset("synthetic", "train", class_names)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", table.SOURCES)
def test_each_kind_has_a_loader_and_is_in_the_help_text(kind):
    source = table.SOURCES[kind]
    loader = importlib.import_module(source.module).load
    assert list(inspect.signature(loader).parameters) == ["argument", "split", "class_names", "strict"]
    assert source.usage.startswith(kind) and f"{source.usage} ({source.help})" in table.DATA_HELP


def test_the_table_imports_no_heavy_package():
    # In a process of its own, with an empty top package: the real one may import TensorFlow.
    code = (
        "import sys; package = type(sys)('keras_frcnn'); package.__path__ = ['keras_frcnn'];"
        "sys.modules['keras_frcnn'] = package;"
        "import keras_frcnn.data.sources.table as table; print(table.DATA_HELP);"
        "print({'numpy', 'cv2', 'PIL', 'tensorflow'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [table.DATA_HELP, "set()"]
