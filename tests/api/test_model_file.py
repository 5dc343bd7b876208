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


def encrypted(member):
    """A function that writes the detector with the mark of an encrypted member."""

    def write(path, saved):
        content = bytearray(saved.read_bytes())
        at = content.rindex(member.encode())  # in the directory, 46 bytes behind the start of its entry
        content[at - 46 + 8] |= 1
        path.write_bytes(content)

    return write


def write_without_weights(path, saved):
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in ("config.json", "metadata.json"):
            new.writestr(name, old.read(name))


def write_other_zip(path, saved):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def with_configuration(change):
    """A function that writes the detector with another config.json, which `change` makes from the right one."""

    def write(path, saved):
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    content = json.dumps(change(json.loads(content)))
                new.writestr(name, content)

    return write


def write_bomb(path, saved):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(10**8))


HOSTILE = {  # what a file could name to run code, or to take memory
    "a function of another module": lambda _: {"module": "os", "class_name": "system", "config": "touch ran"},
    "a module of its own": lambda stored: stored | {"module": "evil", "registered_name": None},
    "a lambda layer": lambda _: {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "YQ=="}}},
    },
    "a number format that is an object": lambda stored: (
        stored | {"config": stored["config"] | {"dtype": {"module": "evil", "class_name": "Policy", "config": {}}}}
    ),
    "class names that are none": lambda stored: stored | {"config": stored["config"] | {"class_names": [1]}},
    "a huge head": lambda stored: (
        stored | {"config": stored["config"] | {"config": {**stored["config"]["config"], "head": {"fc_units": 65536}}}}
    ),
    "endless nesting": lambda _: json.loads("[" * 500 + "]" * 500),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_runs_nothing(saved, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n")
    path = tmp_path / "hostile.keras"
    with_configuration(HOSTILE[name])(path, saved[1])
    if name == "a module of its own":  # the class is ours, whatever the file says
        assert load_model(path).class_names == ("cat", "dog", "hen")
    else:
        with pytest.raises(InputError, match=f"^{path}: .*; give the model.keras of a run folder$"):
            load_model(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (write_bomb, "not a readable model .model.weights.h5 unpacks to 100000000 bytes.; give the model.keras"),
        (write_nothing, "no such model file; give a run folder whose training has finished or a .keras file"),
        (write_text, "not a .keras file; give the model.keras of a run folder"),
        (write_other_model, "holds a Sequential, not a FasterRCNN; give the model.keras of a run folder"),
        (write_truncated, "not a .keras file; give the model.keras of a run folder"),
        (write_damaged, "not a readable model .*; give the model.keras of a run folder"),
        (encrypted("config.json"), "not a readable model .damaged archive: .*encrypted.*; give the model.keras"),
        (encrypted("model.weights.h5"), "not a readable model .damaged archive: .*encrypted.*; give the model.keras"),
        (write_without_weights, "not a readable model .*; give the model.keras of a run folder"),
        (write_other_zip, "not a readable model .*; give the model.keras of a run folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_without_a_detector_is_an_error(saved, tmp_path, write, problem):
    path = tmp_path / "wrong.keras"
    write(path, saved[1])
    with pytest.raises(InputError, match=f"^{path}: {problem}"):
        load_model(path)
