"""The run folder: never another run's, and weights that come back as they were."""

import json

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json
from training.run.folder import load_part, open_folder, save_parts, weights_path

CONFIGURATION = {"options": {"seed": 0, "iterations": (2, 2, 2, 2)}, "detector": {"head": {"fc_units": 32}}}


def test_a_new_folder_holds_the_configuration_and_the_labels(tmp_path):
    folder = open_folder(tmp_path / "runs" / "new", CONFIGURATION, ("cat", "dog"))
    assert folder == tmp_path / "runs" / "new"
    assert read_json(folder / "config.json") == json.loads(json.dumps(CONFIGURATION))
    assert read_json(folder / "labels.json") == {"1": "cat", "2": "dog"}
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "labels.json"]


def test_an_empty_folder_is_taken(tmp_path):
    open_folder(tmp_path, CONFIGURATION, ("cat",))
    assert (tmp_path / "config.json").is_file()


def test_the_same_configuration_goes_on(tmp_path):
    open_folder(tmp_path, CONFIGURATION, ("cat",))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = {"options": {"seed": 0, "iterations": [2, 2, 2, 2]}, "detector": {"head": {"fc_units": 32}}}
    assert open_folder(tmp_path, again, ("cat",)) == tmp_path
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("other", "field", "old", "new"),
    [
        ({"options": {"seed": 1, "iterations": (2, 2, 2, 2)}}, "options.seed", "0", "1"),
        ({"options": {"seed": 0, "iterations": (2, 2)}}, "options.iterations", r"\[2, 2, 2, 2\]", r"\[2, 2\]"),
        ({"detector": {"head": {"fc_units": 64}}}, "detector.head.fc_units", "32", "64"),
        ({"options": {"seed": 0}}, "options.iterations", r"\[2, 2, 2, 2\]", "None"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_touched(tmp_path, other, field, old, new):
    open_folder(tmp_path, CONFIGURATION, ("cat",))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = f"^{tmp_path}/config.json, field {field}: this run was started with {old}, now it is {new}; give the"
    with pytest.raises(InputError, match=message):
        open_folder(tmp_path, {**CONFIGURATION, **other}, ("dog",))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_changeable_field_may_differ(tmp_path):
    open_folder(tmp_path, CONFIGURATION, ("cat",))
    other = {**CONFIGURATION, "options": {"seed": 1, "iterations": (2, 2, 2, 2)}}
    assert open_folder(tmp_path, other, ("cat",), changeable={"options.seed"}) == tmp_path
    assert read_json(tmp_path / "config.json")["options"]["seed"] == 0
    with pytest.raises(InputError, match="field options.seed"):
        open_folder(tmp_path, other, ("cat",), changeable={"options.iterations"})


def test_what_is_no_run_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=f"^{tmp_path}: is not empty and holds no config.json of a run; give another"):
        open_folder(tmp_path, CONFIGURATION, ("cat",))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="thesis.txt: is a file, not a run folder; give another folder with --run$"):
        open_folder(tmp_path / "thesis.txt", CONFIGURATION, ("cat",))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_broken_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"options": ')
    with pytest.raises(InputError, match=f"^{tmp_path}/config.json: is not JSON .*; restore it, or give"):
        open_folder(tmp_path, CONFIGURATION, ("cat",))
    assert (tmp_path / "config.json").read_text() == '{"options": '


def test_parts_come_back_as_they_were(make_model, tmp_path):
    source, target = make_model(seed=1), make_model(seed=2)
    path = weights_path(tmp_path, "step3")
    save_parts(path, source, ("backbone", "head"))
    assert path == tmp_path / "weights" / "step3.npz"
    with np.load(path) as stored:
        assert len(stored) == 2 * (13 + 4)
        assert {"backbone/block1_conv1/kernel", "head/fc6/bias", "head/box_deltas/kernel"} <= set(stored)
    rpn_before = [value.copy() for value in target.rpn.get_weights()]
    head_before = target.head.get_weights()

    load_part(path, target, "backbone")
    for a, b in zip(target.backbone.get_weights(), source.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(target.head.get_weights() + target.rpn.get_weights(), head_before + rpn_before, strict=True):
        np.testing.assert_array_equal(a, b)
    load_part(path, target, "head")
    for a, b in zip(target.head.get_weights(), source.head.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(KeyError):
        load_part(path, target, "rpn")
