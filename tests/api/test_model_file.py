"""A detector is read from a run folder or a .keras file; any other file is an error that names it."""

import json
import zipfile

import keras
import numpy as np
import pytest

from keras_frcnn.api.model_file import load_model
from keras_frcnn.facts.errors import InputError


@pytest.fixture(scope="module")
def saved(make_model, tmp_path_factory):
    model = make_model(seed=5)
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return model, path


def test_a_loaded_model_has_its_config_and_weights(saved):
    model, path = saved
    for given in (path, str(path), path.parent):  # a run folder holds model.keras
        loaded = load_model(given)
        assert loaded.config == model.config and loaded.class_names == ("cat", "dog", "hen")
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in model.trainable_variables]


def test_a_file_from_before_the_exif_policy_ignores_the_orientation(saved, tmp_path):
    path = tmp_path / "old.keras"
    with zipfile.ZipFile(saved[1]) as new, zipfile.ZipFile(path, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                config = json.loads(content)
                del config["config"]["config"]["image"]["exif"]
                content = json.dumps(config)
            old.writestr(name, content)
    image = load_model(path).config.image
    assert image.exif == "auto" and not image.applies_exif


def write_nothing(path, saved):
    pass


def write_text(path, saved):
    path.write_text("these are not weights")


def write_other_model(path, saved):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)


def write_truncated(path, saved):
    content = saved.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_damaged(path, saved):
    content = bytearray(saved.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    path.write_bytes(content)


def write_without_weights(path, saved):
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))


def write_other_zip(path, saved):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (write_nothing, "no such model file; give a run folder whose training has finished or a .keras file"),
        (write_text, "not a .keras file; give the model.keras of a run folder"),
        (write_other_model, "holds a Sequential, not a FasterRCNN; give the model.keras of a run folder"),
        (write_truncated, "not a .keras file; give the model.keras of a run folder"),
        (write_damaged, "not a readable model .*; give the model.keras of a run folder"),
        (write_without_weights, "not a readable model .*; give the model.keras of a run folder"),
        (write_other_zip, "not a readable model .*; give the model.keras of a run folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_without_a_detector_is_an_error(saved, tmp_path, write, problem):
    path = tmp_path / "wrong.keras"
    write(path, saved[1])
    with pytest.raises(InputError, match=f"^{path}: {problem}$"):
        load_model(path)
