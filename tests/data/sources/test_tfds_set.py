"""TensorFlow data sets: which features are used, and what happens without a prepared set."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_frcnn.data.sources import tfds_set
from keras_frcnn.data.sources.loading import dataset_splits, load_dataset
from keras_frcnn.data.sources.spec import DataSpec
from keras_frcnn.facts.errors import InputError

OBJECT = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["dog", "cat"])}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def prepare(folder, name, features, splits, config=None):
    """Prepare a data set whose examples are `splits`, {split: [example, ...]}; each has a picture of 40 x 60."""
    Image.new("RGB", (60, 40)).save(folder / "picture.png")
    with tfds.core.registered.skip_registration():

        class Made(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.2.0")
            pkg_dir_path = folder
            url_infos = {}
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

            def _info(self):
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(examples) for split, examples in splits.items()}

            def _generate_examples(self, examples):
                for number, example in enumerate(examples):
                    yield number, {"image": str(folder / "picture.png")} | example

        Made.name = name
    Made(data_dir=folder / "tfds").download_and_prepare()
    return DataSpec(data=f"tfds:{name}/{config}" if config else f"tfds:{name}", tfds_dir=str(folder / "tfds"))


def box(*corners):
    return tfds.features.BBox(*corners)


def test_boxes_are_edges_in_fractions(tmp_path):
    inner = OBJECT | {"is_crowd": np.bool_, "area": np.int64, "is_difficult": np.bool_}
    one = {"bbox": box(0.25, 0.5, 0.75, 0.1 + 0.5), "label": "cat", "is_crowd": False, "area": 7, "is_difficult": True}
    two = {"bbox": box(0.0, 0.0, 1.0, 1.0), "label": "dog", "is_crowd": True, "area": 9, "is_difficult": False}
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(inner),
    }
    examples = {"train": [{"image/id": 31, "objects": [one, two]}], "validation": [{"image/id": 32, "objects": []}]}
    spec = prepare(tmp_path, "made", features, examples)
    assert dataset_splits(spec) == ("train", "validation")
    dataset = load_dataset(spec, "train+validation")
    assert dataset.class_names == ("dog", "cat")  # in the order of the label, not sorted
    first, second = dataset.examples
    assert first.boxes.tolist() == [[10, 30, 30, 36], [0, 0, 40, 60]]
    assert first.classes.tolist() == [2, 1] and second.boxes.shape == (0, 4)
    assert first.difficult.tolist() == [True, True] and first.crowd.tolist() == [False, True]
    assert first.areas.tolist() == [7, 9]
    assert [example.image_id for example in dataset.examples] == ["train/31", "validation/32"]
    with open(first.image_path, "rb") as stream:
        assert stream.read() == (tmp_path / "picture.png").read_bytes()
    for name in ("tfds:made:1.2.0", "tfds:made"):
        assert len(load_dataset(DataSpec(data=name, tfds_dir=spec.tfds_dir), "train").examples) == 1
    with pytest.raises(InputError, match=r"split 'test': the data has no such split; use one of: train, validation"):
        load_dataset(spec, "test")


def test_the_boxes_of_voc_are_pixels_counted_from_1(tmp_path):
    """xmin 31 of width 60 is the edge 30; a click without a drag has no area."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "image/filename": tfds.features.Text(),
        "objects": tfds.features.Sequence(OBJECT),
    }
    objects = [
        {"bbox": box(11 / 40, 31 / 60, 30 / 40, 60 / 60), "label": "cat"},
        {"bbox": box(11 / 40, 31 / 60, 30 / 40, 31 / 60), "label": "cat"},
    ]
    examples = {"train": [{"image/filename": "000005.jpg", "objects": objects}]}
    spec = prepare(tmp_path, "voc", features, examples, config="2007")
    dataset = load_dataset(spec, "train")
    assert dataset.examples[0].boxes.tolist() == [[10, 30, 30, 60]]
    assert dataset.examples[0].image_id == "000005"
    assert list(dataset.problems.values()) == [("tfds:voc/2007/1.2.0 train, record 1",)]


def test_a_data_set_without_objects_is_refused(tmp_path):
    features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(names=["a"])}
    spec = prepare(tmp_path, "flat", features, {"train": [{"label": "a"}]})
    with pytest.raises(
        InputError, match=r"tfds:flat: expected one picture and one sequence of objects \(got 1 and 0\)"
    ):
        load_dataset(spec, "train")


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch):
    asked = []

    def builder(name, data_dir):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(tfds_set.tfds, "builder", builder)
    spec = DataSpec(data="tfds:coco/2017", tfds_dir=str(tmp_path))
    for read in (dataset_splits, lambda spec: load_dataset(spec, "train")):
        with pytest.raises(InputError, match=r"tfds:coco/2017: no such data set is prepared in .*; .*--allow-download"):
            read(spec)
    assert not asked
    with pytest.raises(InputError, match=r"tfds:coco/2017: cannot be downloaded and prepared \(no network\)"):
        dataset_splits(DataSpec(data="tfds:coco/2017", tfds_dir=str(tmp_path), allow_download=True))
    assert asked == ["coco/2017"]


@pytest.mark.parametrize("argument", ["", ":", ":a b/c", ":a:b:c"])
def test_names_that_are_none(tmp_path, argument):
    with pytest.raises(InputError, match=r"--data tfds"):
        dataset_splits(DataSpec(data=f"tfds{argument}", tfds_dir=str(tmp_path)))
