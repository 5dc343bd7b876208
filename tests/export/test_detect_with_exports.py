"""`keras_frcnn.detect` takes a SavedModel or a TFLite file, and gives the same as with the Keras model."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from export.litemodel.graph import convert
from export.litemodel.metadata import add_files, with_metadata
from export.savedmodel.signatures import save
from keras_frcnn.facts.config import config_to_dict

SIZE = (64, 96)  # to which the small detector resizes the pictures below


@pytest.fixture(scope="module")
def models(make_confident_model, tmp_path_factory):
    """The same detector in three forms."""
    folder, model = tmp_path_factory.mktemp("models"), make_confident_model()
    model.save(folder / "model.keras")
    save(model, model.head, {"detector": config_to_dict(model.config)}, folder / "1")
    (folder / "detector.tflite").write_bytes(with_metadata(convert(model, SIZE), SIZE))
    add_files(folder / "detector.tflite", model.class_names, model.config, SIZE, "none")
    return {"keras": folder / "model.keras", "SavedModel": folder / "1", "TFLite": folder / "detector.tflite"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        # A TFLite file takes whole numbers: resizing a picture of equal 2 x 2 squares gives them.
        times = 1 + number % 2
        Image.fromarray(noise.repeat(times, axis=0).repeat(times, axis=1)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"")
    return folder


def found_by(detect, model, photos, out, capsys):
    assert detect("--model", model, photos, "--out", out, "--score", "0.3", "--write", "nothing") == 1
    assert capsys.readouterr().err.startswith("1 of 4 files could not be read:")
    return [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["SavedModel", "TFLite"])
def test_an_export_finds_what_the_keras_model_finds(detect, models, photos, tmp_path, capsys, kind):
    expected = found_by(detect, models["keras"], photos, tmp_path / "keras", capsys)
    found = found_by(detect, models[kind], photos, tmp_path / "export", capsys)
    assert len(found) == 4 and sum(len(line["detections"]) for line in expected) > 5
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("image", "height", "width", "error"):
            assert ours.get(name) == theirs.get(name)
        assert [one["class"] for one in ours["detections"]] == [one["class"] for one in theirs["detections"]]
        for one, other in zip(ours["detections"], theirs["detections"], strict=True):
            np.testing.assert_allclose(one["box"], other["box"], atol=0.1)
            assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_a_record_is_bound_to_the_export(detect, models, photos, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    found_by(detect, models["SavedModel"], photos, out, capsys)
    shutil.copytree(models["SavedModel"], other)
    (other / "assets" / "labels.json").write_text('{"1": "a", "2": "b", "3": "c"}')
    command = (photos, "--out", out, "--score", "0.3", "--write", "nothing", "--resume")
    assert detect("--model", other, *command) == 2
    assert "these detections were begun with another model" in capsys.readouterr().err
    assert detect("--model", models["SavedModel"], *command) == 1


def test_other_files_of_these_kinds_are_refused(detect, models, photos, tmp_path, capsys):
    picture, lite, folder = photos / "0.png", tmp_path / "x.tflite", tmp_path / "saved"
    lite.write_bytes(models["TFLite"].read_bytes()[:1000])
    assert detect("--model", lite, picture) == 2
    assert capsys.readouterr().err.startswith(f"error: {lite}: is not a TFLite file of this project (")
    with zipfile.ZipFile(lite, "w") as files:
        files.writestr("labels.txt", "background\ncat")
        files.writestr("config.json", "[]")
    assert detect("--model", lite, picture) == 2
    assert capsys.readouterr().err.startswith(f"error: {lite}: is not a TFLite file of this project (")
    shutil.copytree(models["SavedModel"], folder)
    shutil.rmtree(folder / "assets")
    assert detect("--model", folder, picture) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder}: is not a SavedModel of this project (")


def test_without_its_package_a_tflite_file_says_what_to_install(detect, models, photos, tmp_path, capsys, monkeypatch):
    path = shutil.copy(models["TFLite"], tmp_path / "another.tflite")  # that no test has loaded
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.delitem(sys.modules, "keras_frcnn.api.exports.tflite", raising=False)
    assert detect("--model", path, photos / "0.png") == 2
    assert capsys.readouterr().err == (
        f"error: {path}: the package ai-edge-litert, which runs TFLite files, is not installed; "
        "pip install 'keras-frcnn[export]'\n"
    )
