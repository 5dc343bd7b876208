"""Loading: the `--data` option, joined sources, class maps, and how problems are described."""

import json

import pytest

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.loading import dataset_splits, describe_problems, load_dataset
from keras_frcnn.data.sources.shared.class_map import UNUSED
from keras_frcnn.data.sources.spec import ALL, DataSpec, requests
from keras_frcnn.data.sources.synthetic import drawn
from keras_frcnn.data.sources.synthetic.scenes import CLASS_NAMES
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
        dataset = load_dataset(DataSpec(data="synthetic:7"), split)
        assert len(dataset.examples) == count and dataset.class_names == CLASS_NAMES
        assert dataset.name == f"synthetic:7 {split}"
        assert "seed7" in dataset.examples[0].image_path
    assert len(load_dataset(DataSpec(data="synthetic:7"), "train+val").examples) == 5
    default = load_dataset(DataSpec(data="synthetic"), "test")
    assert "seed0" in default.examples[0].image_path and default.name == "synthetic test"


def test_class_names_apply_to_synthetic_data_too(few_pictures):
    reverse = tuple(reversed(CLASS_NAMES))
    straight = load_dataset(DataSpec(data="synthetic:7"), "train")
    turned = load_dataset(DataSpec(data="synthetic:7", class_names=reverse), "train")
    assert turned.class_names == reverse
    names = [[d.class_names[c - 1] for picture in d.examples for c in picture.classes] for d in (straight, turned)]
    assert names[0] == names[1] != []
    with pytest.raises(InputError, match="is not one of the classes cat; "):
        load_dataset(DataSpec(data="synthetic:7", class_names=("cat",)), "train")


def test_a_picture_with_too_many_pixels_is_refused_by_its_header(few_pictures):
    assert load_dataset(DataSpec(data="synthetic:7", max_pixels=120 * 160), "train").examples
    with pytest.raises(InputError, match=r"\.jpg: 120 x 160 pixels are over the limit of 19199 in all; give a smaller"):
        load_dataset(DataSpec(data="synthetic:7", max_pixels=120 * 160 - 1), "train")


@pytest.mark.parametrize(
    ("data", "options", "option"),
    [
        ("yolo:somewhere", {"images_root": "x"}, "--images-root"),
        ("synthetic", {"tfds_dir": "x"}, "--tfds-dir"),
        ("coco:a+voc:b", {"allow_download": True}, "--allow-download"),
    ],
)
def test_an_option_that_no_source_uses_is_refused(data, options, option):
    with pytest.raises(InputError) as error:
        load_dataset(DataSpec(data=data, **options), "train")
    assert str(error.value) == f"{option}: has no effect on --data {data}; remove it"


def test_an_unknown_synthetic_split_lists_the_possible_ones(few_pictures):
    message = "image set not found; use one of the image sets of this folder: test, train, val"
    with pytest.raises(InputError, match=message):
        load_dataset(DataSpec(data="synthetic"), "minival")


def test_a_voc_tree_is_read_with_its_arguments(tmp_path):
    drawn.write_synthetic(tmp_path / "tree", {"train": 2}, seed=0, size=(120, 160))
    data = f"voc:{tmp_path}/tree"
    dataset = load_dataset(DataSpec(data=data), "train")
    assert dataset.name == f"{data} train" and len(dataset.examples) == 2

    (first, *_) = sorted((tmp_path / "tree" / "Annotations").iterdir())
    first.write_text(first.read_text().replace("<width>160</width>", "<width>161</width>"))
    assert list(load_dataset(DataSpec(data=data), "train").problems.values()) == [(str(first),)]
    with pytest.raises(InputError, match="write width 160 and height 120"):
        load_dataset(DataSpec(data=data, strict=True), "train")
    with pytest.raises(InputError, match="is not one of the classes cat; "):
        load_dataset(DataSpec(data=data, class_names=("cat",)), "train")


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
        load_dataset(DataSpec(data=data), "train")


def test_each_kind_of_problem_is_one_line():
    problems = {
        "no area: dropped": ("/d/a.xml", "/d/a.xml", "/d/b.xml"),
        "clipped": tuple(f"/d/{name}.xml" for name in "pqrstq"),
    }
    assert describe_problems(Dataset("voc:/d train", ("cat",), (), problems)) == [
        "voc:/d train: no area: dropped: 3 in a.xml, b.xml",
        "voc:/d train: clipped: 6 in p.xml, q.xml, r.xml and 2 more",
    ]
    assert describe_problems(Dataset("voc:/d train", ("cat",), (), {})) == []


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
        load_dataset(DataSpec(data="synthetic", class_names=class_names), "train")
    assert not (tmp_path / "cache").exists()


def test_joined_sources_are_one_data_set(few_pictures, tmp_path):
    drawn.write_synthetic(tmp_path / "a+b", {"val": 2}, seed=0, size=(120, 160))
    data = f"synthetic:7+voc:{tmp_path}/a+b"
    joined = load_dataset(DataSpec(data=data), "train,val")
    parts = [
        load_dataset(DataSpec(data="synthetic:7"), "train"),
        load_dataset(DataSpec(data=f"voc:{tmp_path}/a+b"), "val"),
    ]
    assert joined.name == f"{data} train,val"
    names = [f"{n}/{one.image_id}" for n, part in enumerate(parts, start=1) for one in part.examples]
    assert [one.image_id for one in joined.examples] == names and len(names) == 5
    assert joined.class_names == CLASS_NAMES  # declared by the first source; the second declares none
    assert dataset_splits(DataSpec(data=data)) == ("val",) and dataset_splits(DataSpec(data="synthetic")) == tuple(
        COUNTS
    )
    with pytest.raises(InputError, match="3 names for 2 data sources; give one name for all, or 2 names separated"):
        load_dataset(DataSpec(data=data), "train,val,test")
    with pytest.raises(InputError, match="unknown kind of data source"):
        load_dataset(DataSpec(data="no:/x+voc:/y"), "train")


def test_a_class_map_renames_merges_and_drops(few_pictures, tmp_path):
    plain = load_dataset(DataSpec(data="synthetic:7"), "train+val+test")
    first, second, third = CLASS_NAMES[:3]
    (tmp_path / "map.json").write_text(json.dumps({first: "thing", second: "thing", third: None}))
    mapped = load_dataset(DataSpec(data="synthetic:7", class_map=str(tmp_path / "map.json")), "train+val+test")
    assert mapped.class_names == ("thing", *CLASS_NAMES[3:])

    def counts(dataset):
        names = [dataset.class_names[c - 1] for one in dataset.examples for c in one.classes]
        return {name: names.count(name) for name in dataset.class_names}

    before, after = counts(plain), counts(mapped)
    assert after["thing"] == before[first] + before[second] > 0
    assert all(after[name] == before[name] for name in CLASS_NAMES[3:])
    (dropped,) = mapped.problems.values()
    assert len(dropped) == before[third] > 0


def write_map(tmp_path, renamed):
    path = tmp_path / "map.json"
    path.write_text(json.dumps(renamed))
    return str(path)


def test_a_class_map_applies_once_and_leaves_other_classes(few_pictures, tmp_path):
    """Names may be swapped: the map is not applied to its own result."""
    first, second = CLASS_NAMES[:2]
    swapped = write_map(tmp_path, {first: second, second: f" {first} "})
    plain = load_dataset(DataSpec(data="synthetic:7"), "train")
    mapped = load_dataset(DataSpec(data="synthetic:7", class_map=swapped, class_names=CLASS_NAMES), "train")
    turned = {1: 2, 2: 1}
    for before, after in zip(plain.examples, mapped.examples, strict=True):
        assert after.classes.tolist() == [turned.get(one, one) for one in before.classes.tolist()]
    assert mapped.problems == {}


def test_an_entry_that_fits_no_class_is_counted(few_pictures, tmp_path):
    renamed = write_map(tmp_path, {"Star": "star", "cat/dog": None})
    problems = load_dataset(DataSpec(data="synthetic:7", class_map=renamed), "train").problems
    assert problems == {UNUSED: ("'Star'", "'cat/dog'")}


def test_a_class_map_that_drops_all_classes_is_an_error(few_pictures, tmp_path):
    dropped = write_map(tmp_path, dict.fromkeys(CLASS_NAMES))
    with pytest.raises(InputError, match="there are no objects to take the class names from; specify --class-names"):
        load_dataset(DataSpec(data="synthetic:7", class_map=dropped), "train")


def test_classes_of_joined_sources_are_mapped_together(few_pictures, tmp_path):
    """One source declares its classes, the other does not and has one more."""
    drawn.write_synthetic(tmp_path / "tree", {"train": 3}, seed=1, size=(120, 160))
    for xml in (tmp_path / "tree" / "Annotations").iterdir():
        xml.write_text(
            xml.read_text().replace("<name>star<", "<name>asterisk<").replace("<name>ring<", "<name>A ring<")
        )
    data = f"synthetic:7+voc:{tmp_path}/tree"
    names = load_dataset(DataSpec(data=data), "train").class_names
    assert names[: len(CLASS_NAMES)] == CLASS_NAMES and set(names[len(CLASS_NAMES) :]) == {"A ring", "asterisk"}
    renamed = write_map(tmp_path, {"asterisk": "star", "A ring": "ring"})
    joined = load_dataset(DataSpec(data=data, class_map=renamed), "train")
    assert joined.class_names == CLASS_NAMES and joined.problems == {}
    alone = load_dataset(DataSpec(data=f"voc:{tmp_path}/tree", class_map=renamed, class_names=CLASS_NAMES), "train")
    for one, same in zip(joined.examples[-3:], alone.examples, strict=True):
        assert one.image_id == f"2/{same.image_id}" and one.classes.tolist() == same.classes.tolist()


def test_a_class_map_may_begin_with_a_byte_order_mark(few_pictures, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({CLASS_NAMES[0]: "thing"}), encoding="utf-8-sig")
    spec = DataSpec(data="synthetic:7", class_map=str(tmp_path / "map.json"))
    assert load_dataset(spec, "train").class_names == ("thing", *CLASS_NAMES[1:])


@pytest.mark.parametrize(
    ("data", "split", "asked"),
    [
        ("voc:/a+b", "train", [("voc", "/a+b", "train")]),
        ("synthetic+synthetic:3", "train", [("synthetic", None, "train"), ("synthetic", "3", "train")]),
        ("voc:/a+voc:/b", "x+y", [("voc", "/a", "x+y"), ("voc", "/b", "x+y")]),
        ("voc:/a+voc:/b", "x+y,z", [("voc", "/a", "x+y"), ("voc", "/b", "z")]),
        ("voc:/a:b+synthetic", ALL, [("voc", "/a:b", ALL), ("synthetic", None, ALL)]),
        ("voc:/a", "x,y", [("voc", "/a", "x,y")]),  # a name of one source may have a comma
        ("voc:/my+vocal:x", "x", [("voc", "/my+vocal:x", "x")]),
    ],
)
def test_what_each_source_is_asked_for(data, split, asked):
    root = None if "voc" not in data else "/pictures"
    found = requests(DataSpec(data=data, images_root=root), split)
    assert [tuple(one[:3]) for one in found] == asked and {one.images_root for one in found} == {root}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is not a JSON object"),
        ("[]", "is not a JSON object"),
        ('{"a": {"b": "c"}}', "'a': .* is not a class name"),
        ("{", "is not JSON"),
        ('{"a": 1}', "'a': 1 is not a class name; write a name, or null to drop"),
        ('{"a": " "}', "' ' is not a class name"),
        ('{"a": "b", "a": "c"}', "'a': the class occurs twice"),
        (None, "cannot be read .No such file"),
    ],
)
def test_a_bad_class_map_names_the_file(few_pictures, tmp_path, text, message):
    path = tmp_path / "map.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"^--class-map {path}.*{message}"):
        load_dataset(DataSpec(data="synthetic:7", class_map=str(path)), "train")
