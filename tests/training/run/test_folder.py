"""The run folder: never another run's, and weights that come back as they were."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import read_json, write_json
from keras_frcnn.network.weights.pretrained import PretrainedVGG16
from training.run.folder import (
    bind_to_start,
    check_sources,
    keep_plan,
    load_part,
    open_folder,
    save_parts,
    weights_digest,
    weights_path,
)
from training.run.start import digest_of

CONFIGURATION = {"options": {"seed": 0, "iterations": (2, 2, 2, 2)}, "detector": {"head": {"fc_units": 32}}}
DATA = {"class_names": ["cat", "dog"], "train": {"b": "0123", "a": "4567"}, "val": {"c": "89ab"}}


def test_a_new_folder_holds_the_configuration_and_the_labels(tmp_path):
    folder = open_folder(tmp_path / "runs" / "new", CONFIGURATION, DATA)
    assert folder == tmp_path / "runs" / "new"
    assert read_json(folder / "config.json") == json.loads(json.dumps(CONFIGURATION))
    assert read_json(folder / "labels.json") == {"1": "cat", "2": "dog"}
    assert read_json(folder / "data.json") == DATA
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "data.json", "labels.json"]


def test_an_empty_folder_is_taken(tmp_path):
    open_folder(tmp_path, CONFIGURATION, DATA)
    assert (tmp_path / "config.json").is_file()


def test_the_same_configuration_resumes(tmp_path):
    open_folder(tmp_path, CONFIGURATION, DATA)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = {"options": {"seed": 0, "iterations": [2, 2, 2, 2]}, "detector": {"head": {"fc_units": 32}}}
    assert open_folder(tmp_path, again, DATA) == tmp_path
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("other", "field", "old", "new"),
    [
        ({"options": {"seed": 1, "iterations": (2, 2, 2, 2)}}, "options.seed", "0", "1"),
        ({"options": {"seed": 0, "iterations": (2,)}}, "options.iterations", r"\[2, 2, 2, 2\]", r"\[2\]"),
        ({"detector": {"head": {"fc_units": 64}}}, "detector.head.fc_units", "32", "64"),
        ({"options": {"seed": 0}}, "options.iterations", r"\[2, 2, 2, 2\]", "None"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_touched(tmp_path, other, field, old, new):
    open_folder(tmp_path, CONFIGURATION, DATA)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = f"^{tmp_path}/config.json, field {field}: this run was started with {old}, now it is {new}; give the"
    with pytest.raises(InputError, match=message):
        open_folder(tmp_path, {**CONFIGURATION, **other}, {**DATA, "class_names": ["dog"]})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_changeable_field_may_differ(tmp_path):
    open_folder(tmp_path, CONFIGURATION, DATA)
    other = {**CONFIGURATION, "options": {"seed": 1, "iterations": (2, 2, 2, 2)}}
    assert open_folder(tmp_path, other, DATA, changeable={"options.seed"}) == tmp_path
    assert read_json(tmp_path / "config.json")["options"]["seed"] == 0
    with pytest.raises(InputError, match="field options.seed"):
        open_folder(tmp_path, other, DATA, changeable={"options.iterations"})


def test_what_is_no_run_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=f"^{tmp_path}: is not empty and holds no config.json of a run; give another"):
        open_folder(tmp_path, CONFIGURATION, DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="thesis.txt: is a file, not a run folder; give another folder with --run$"):
        open_folder(tmp_path / "thesis.txt", CONFIGURATION, DATA)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def refused(folder: Path, data: dict, message: str):
    """`open_folder` raises InputError with that message, and leaves the folder as it is."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=message):
        open_folder(folder, CONFIGURATION, data)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("data", "change"),
    [
        ({**DATA, "class_names": ["cat", "puppy"]}, "class 2 was 'dog', is now 'puppy'"),
        ({**DATA, "train": {"b": "0123", "a": "4568"}}, "the annotation of image a of the training set changed"),
        ({**DATA, "train": {"a": "4567", "b": "0123"}}, "the order of the images of the training set changed"),
        ({**DATA, "train": {"b": "0123"}}, "image a of the training set was removed"),
        ({**DATA, "val": {"c": "89ab", "d": "89ab"}}, "image d of the validation set was added"),
    ],
)
def test_other_data_is_refused_by_name(tmp_path, data, change):
    open_folder(tmp_path, CONFIGURATION, DATA)
    refused(tmp_path, data, f"^{tmp_path}/data.json: the data changed since this run was started: {change}.*; restore")


@pytest.mark.parametrize("name", ["config.json", "data.json", "labels.json"])
@pytest.mark.parametrize(("content", "problem"), [(b'{"options": ', "is not JSON"), (b"\xff", "is not JSON"),
                                                  (b"[1]\n", "is not a JSON object")])  # fmt: skip
def test_a_damaged_file_is_named_and_left_alone(tmp_path, name, content, problem):
    open_folder(tmp_path, CONFIGURATION, DATA)
    (tmp_path / name).write_bytes(content)
    refused(tmp_path, DATA, f"^{tmp_path}/{name}: {problem}.*; restore it from a backup, or give another folder")


@pytest.mark.parametrize("content", [{}, {**DATA, "train": ["b", "a"]}, {"class_names": ["cat", "dog"]}])
def test_a_data_file_of_another_form_is_named(tmp_path, content):
    open_folder(tmp_path, CONFIGURATION, DATA)
    write_json(tmp_path / "data.json", content)
    refused(tmp_path, DATA, f"^{tmp_path}/data.json: does not describe the data of a run; restore it")


def test_a_run_without_its_data_file_is_refused(tmp_path):
    open_folder(tmp_path, CONFIGURATION, DATA)
    (tmp_path / "data.json").unlink()
    refused(tmp_path, DATA, f"^{tmp_path}/data.json: is missing; restore it from a backup, or give another folder")


def test_labels_must_be_those_of_the_data(tmp_path):
    open_folder(tmp_path, CONFIGURATION, DATA)
    write_json(tmp_path / "labels.json", {"1": "dog", "2": "cat"})
    refused(tmp_path, DATA, f"^{tmp_path}/labels.json: its class names are not those of data.json.*; delete it: the")
    (tmp_path / "labels.json").unlink()
    open_folder(tmp_path, CONFIGURATION, DATA)
    assert read_json(tmp_path / "labels.json") == {"1": "cat", "2": "dog"}


@pytest.mark.parametrize("left", [["labels.json"], ["labels.json", "data.json"], [".partial.7.data.json"]])
def test_a_start_that_was_killed_is_repeated(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("of other data")
    open_folder(tmp_path, CONFIGURATION, DATA)
    assert read_json(tmp_path / "data.json") == DATA and read_json(tmp_path / "labels.json") == {"1": "cat", "2": "dog"}


def test_a_plan_never_replaces_that_of_a_run_that_began_meanwhile(tmp_path):
    keep_plan(tmp_path, {"options": {"warmup": 1}})
    open_folder(tmp_path, CONFIGURATION, DATA)
    with pytest.raises(InputError, match=f"^{tmp_path}: another process has started a run in it while this one made"):
        keep_plan(tmp_path, {"options": {"warmup": 2}})
    assert read_json(tmp_path / "plan.json") == {"options": {"warmup": 1}}


def test_a_run_is_bound_to_the_content_of_its_starting_weights(tmp_path):
    first, other = ({"conv": (np.full((2, 2), value, np.float32), np.zeros(2, np.float32))} for value in (1, 2))
    digests = [digest_of(PretrainedVGG16(layers, "path.npz")) for layers in (first, other)] + [digest_of(None)]
    assert len(set(digests)) == 3 and digest_of(PretrainedVGG16(dict(first), "elsewhere.npz")) == digests[0]
    bind_to_start(tmp_path, digests[0])
    bind_to_start(tmp_path, digests[0])
    with pytest.raises(InputError, match="start.json: the content of --weights has changed since this run was started"):
        bind_to_start(tmp_path, digests[1])
    (tmp_path / "start.json").write_text("{")
    with pytest.raises(InputError, match="start.json: cannot be read .*; delete it if the weights are still the same"):
        bind_to_start(tmp_path, digests[0])


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
    with pytest.raises(InputError, match="step3.npz: does not hold the weights of a step"):
        load_part(path, target, "rpn")


@pytest.mark.parametrize("damage", ["flipped byte", "cut", "empty", "text", "another shape"])
def test_damaged_weights_are_named_and_change_nothing(make_model, tmp_path, damage):
    source, target = make_model(seed=1), make_model(seed=2)
    path = weights_path(tmp_path, "step3")
    save_parts(path, source, ("rpn",))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "another shape":
        with np.load(path) as stored:
            np.savez(path, **{key: value[..., :1] for key, value in stored.items()})
    else:
        path.write_bytes({"flipped byte": content, "cut": content[:-99], "empty": b"", "text": b"no weights"}[damage])
    before = target.rpn.get_weights()
    with pytest.raises(InputError) as error:
        load_part(path, target, "rpn")
    assert str(error.value).startswith(f"{path}: does not hold the weights of a step (")
    assert "\n" not in str(error.value) and str(error.value).endswith(
        "; restore it from a backup, or delete it and the weights of the later steps to train them again"
    )
    for a, b in zip(target.rpn.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_digest_of_weights_shows_a_change(make_model, tmp_path):
    paths = [weights_path(tmp_path, name) for name in ("step1", "step2", "step3")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        save_parts(path, make_model(seed=seed), ("rpn",))
    first, same, other = map(weights_digest, paths)
    assert first == same != other
    paths[0].write_bytes(b"no weights")
    with pytest.raises(InputError, match="step1.npz: does not hold the weights of a step .*; restore it from a backup"):
        weights_digest(paths[0])


def test_a_finished_step_whose_start_changed_is_refused(make_model, tmp_path):
    names = [f"step{number}" for number in range(1, 5)]
    for name in names[:3]:
        save_parts(weights_path(tmp_path, name), make_model(), ("rpn",))
    first, second, third = (weights_path(tmp_path, name) for name in names[:3])
    write_json(tmp_path / "logs" / "step1.json", {"sources": {}})
    write_json(tmp_path / "logs" / "step2.json", {"sources": {"step1": weights_digest(first)}})
    check_sources(tmp_path, names)
    save_parts(first, make_model(seed=2), ("rpn",))
    fix = "restore step1.npz from a backup, or delete weights/step2.npz and weights/step3.npz to train them again"
    for change in ("has changed", "is gone"):
        with pytest.raises(InputError) as caught:
            check_sources(tmp_path, names)
        assert str(caught.value) == f"{second}: was trained after step1.npz, which {change} since; {fix}"
        first.unlink(missing_ok=True)
    second.unlink()
    check_sources(tmp_path, names)  # step 2 is trained again


@pytest.mark.parametrize("log", [None, "{", "[]", '{"iterations": 2}'])
def test_a_finished_step_of_an_older_version_is_taken_as_it_is(make_model, tmp_path, log):
    save_parts(weights_path(tmp_path, "step2"), make_model(), ("rpn",))
    if log is not None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "step2.json").write_text(log)
    check_sources(tmp_path, ["step1", "step2"])
