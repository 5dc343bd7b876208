"""The command line of the SavedModel export: what it writes, what it prints, and what it refuses."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export.savedmodel import comparison
from export.shared import convention
from export.shared.options import PRECISIONS
from keras_frcnn.facts.files import read_json


def test_each_precision_has_a_tolerance():
    assert tuple(comparison.TOLERANCES) == PRECISIONS


def test_the_printed_lines(exported):
    folder, text = exported
    for name in ("serving_default", "image_bytes", "proposals"):
        assert f"{name}: 2 pictures, " in text
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"written: {size / 1e6:.1f} MB, 6 warm-up requests in it" in text
    assert text.splitlines()[-1].endswith(f"SavedModel: {folder}")
    assert [path.name for path in folder.parent.iterdir()] == ["3"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_stored_and_computed(run, detector, picture_files, tmp_path, precision):
    model, path = detector
    folder = tmp_path / "1"
    assert run("--model", path, "--out", folder, "--images", *picture_files, "--precision", precision) == 0
    stored = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    assert 2 * model.count_params() < stored < 2.2 * model.count_params()
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    kinds = {
        # The file omits an attribute at its default, float32.
        op: {tf.as_dtype(node.attr["T"].type or "float32").name for node in nodes if node.op == op}
        for op in ("Conv2D", "MatMul", "CropAndResize", "NonMaxSuppressionV4")
    }
    assert kinds == {
        "Conv2D": {precision}, "MatMul": {precision}, "CropAndResize": {"float32"}, "NonMaxSuppressionV4": {"float32"}
    }  # fmt: skip
    assert read_json(folder / "assets" / "config.json")["precision"] == precision


@pytest.mark.slow
def test_svd_is_written_and_its_map_is_printed(run, detector, picture_files, dogs, tmp_path, capsys):
    model, path = detector
    folder = tmp_path / "1"
    arguments = ["--model", path, "--out", folder, "--images", *picture_files]
    arguments += ["--svd", 8, 4, "--calibrate", *picture_files]
    assert run(*arguments, "--data", f"voc:{dogs}", "--split", "test") == 0
    text = capsys.readouterr().out
    assert "fc6 and fc7 cut to the ranks 8 and 4" in text
    assert f"mAP 11-point on voc:{dogs} test: Keras model 0." in text
    assert read_json(folder / "assets" / "config.json")["svd"] == [8, 4]
    variables = dict(tf.train.list_variables(str(folder / "variables" / "variables")))
    shapes = [tuple(shape) for shape in variables.values()]
    assert all(shape in shapes for shape in ((25088, 8), (8, 32), (32, 4), (4, 32))) and (25088, 32) not in shapes


def assert_refused(capsys, status, beginning):
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {beginning}"), lines
    assert "Traceback" not in "".join(lines)


def spoil(monkeypatch):
    """Make the boxes of an export wrong by 1 %."""
    right = convention.zero_to_one
    monkeypatch.setattr(convention, "zero_to_one", lambda boxes, sizes: right(boxes, sizes) * 0.99)


def test_an_export_with_other_answers_is_not_written(run, detector, picture_files, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "served" / "1"
    spoil(monkeypatch)
    assert run("--model", detector[1], "--out", folder, "--images", *picture_files) == 1
    assert_refused(capsys, 1, f"{folder}: not written: ")
    assert list(folder.parent.iterdir()) == []


@pytest.mark.slow
def test_a_wrong_export_does_not_replace_a_good_one(run, detector, exported, picture_files, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(exported[0], tmp_path / "1"))
    before = {path: path.read_bytes() for path in folder.rglob("*.pb")}
    spoil(monkeypatch)
    assert run("--model", detector[1], "--out", folder, "--images", *picture_files, "--force") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*.pb")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.slow
def test_pictures_without_detections_prove_nothing(run, detector, picture_files, tmp_path, capsys):
    folder = tmp_path / "1"
    arguments = ["--model", detector[1], "--out", folder, "--images", *picture_files, "--score-threshold", 0.99999]
    assert run(*arguments) == 1
    assert_refused(capsys, 1, f"{folder}: not written: the Keras model finds nothing on the 2 pictures")
    assert not folder.exists()


@pytest.mark.slow
def test_a_version_is_only_replaced_with_force(run, detector, exported, picture_files, tmp_path, capsys):
    folder = Path(shutil.copytree(exported[0], tmp_path / "1"))
    (folder / "old").write_text("")
    arguments = ["--model", detector[1], "--out", folder, "--images", *picture_files]
    assert run(*arguments) == 2
    assert_refused(capsys, 2, f"{folder}: already exists; give another --out, or --force to replace it")
    assert (folder / "old").exists()
    assert run(*arguments, "--force") == 0
    assert not (folder / "old").exists() and (folder / "saved_model.pb").is_file()


def test_a_folder_of_something_else_is_not_replaced(run, detector, tmp_path, capsys):
    folder = tmp_path / "2024"
    folder.mkdir()
    (folder / "photo.jpg").write_text("")
    assert run("--model", detector[1], "--out", folder, "--force") == 2
    assert_refused(capsys, 2, f"{folder}: is not a SavedModel, so it is not replaced; ")
    assert (folder / "photo.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["--out", "served/detector"], "--out served/detector: does not end in a version number; give "),
        (["--out", "1", "--svd", "8"], "--svd: wrong number of ranks (1); give two"),
        (["--out", "1", "--calibrate", "a.jpg"], "--calibrate: has no effect without --svd; "),
        (["--out", "1", "--svd", "1536", "8"], "--svd: fc6 cannot be cut to rank 1536; give a rank from 1 to 31"),
        (["--out", "1", "--max-pixels", "0"], "--max-pixels: 0 is not a whole number of at least 1; give 1 or more"),
        (["--out", "1", "--score-threshold", "2"], "--score-threshold must be at least 0 and less than 1 (got 2.0)."),
        (["--out", "1", "--images", "nowhere.jpg"], "nowhere.jpg: no such file"),
        (["--out", "1", "--data", "nowhere"], "--data 'nowhere': unknown kind of data source"),
        (["--out", "file/1"], "file: cannot be written"),
    ],
)
def test_what_is_wrong_is_named_with_the_fix(run, detector, tmp_path, capsys, monkeypatch, arguments, beginning):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert run("--model", detector[1], *arguments) == 2
    assert_refused(capsys, 2, beginning)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_model_is_named(run, tmp_path, capsys):
    assert run("--model", tmp_path / "none", "--out", tmp_path / "1") == 2
    assert_refused(capsys, 2, f"{tmp_path / 'none'}: no such model file")
