"""The command line of the TFLite export: what it writes, what it prints, and what it refuses."""

import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from export.litemodel.comparison import tflite_detector
from export.tflite import main

SIZE = (64, 96)


def export(*options):
    """Run the command in this process; gives its exit status."""
    try:
        main([str(option) for option in options])
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture
def converted(monkeypatch, content, model):
    """Skip conversion and loading, which take seconds each."""
    monkeypatch.setattr("export.litemodel.export.convert", lambda model, size, head: content)
    monkeypatch.setattr("keras_frcnn.api.model_file._read", lambda path: model)


def test_the_command_writes_a_file_that_answers(saved, converted, exported, tmp_path, capsys, pictures):
    out = tmp_path / "new" / "detector.tflite"
    options = ("--model", saved, "--size", "64x96", "--out", out, "--quantize", "float16")
    assert export(*options) == 0
    printed = capsys.readouterr().out
    for part in ("all builtin", "quantised to float16", "compared with the Keras model: 4 pictures", f"to {out}: "):
        assert part in printed
    assert [path.name for path in out.parent.iterdir()] == ["detector.tflite"]
    answers = (tflite_detector(path)(pictures[0]) for path in (out, exported))
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    # A second export replaces the file only with --force.
    before = out.stat().st_mtime_ns
    assert export(*options) == 2
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith(f"error: {out}: already exists; give another --out, or --force")
    assert out.stat().st_mtime_ns == before
    assert export(*options, "--force") == 0
    assert out.stat().st_mtime_ns > before


def test_a_file_with_a_lower_map_is_not_written(saved, converted, dogs, tmp_path, capsys, monkeypatch):
    maps = iter([0.75, 0.731, 0.75, 0.729])  # at most 0.02 may be lost
    monkeypatch.setattr("export.litemodel.comparison.mean_average_precision", lambda *_: next(maps))
    out = tmp_path / "detector.tflite"
    options = ("--model", saved, "--size", "64x96", "--out", out, "--data", f"voc:{dogs}")
    assert export(*options) == 0
    assert f"mAP on voc:{dogs} test at this size: 0.7500 of the Keras model, 0.7310" in capsys.readouterr().out
    before = out.read_bytes()
    assert export(*options, "--force") == 1
    assert "mAP falls by 0.0210 (at most 0.02)" in capsys.readouterr().err and out.read_bytes() == before


def test_the_map_is_compared_with_that_before_the_cut(saved, converted, dogs, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr("export.litemodel.export.cut_head", lambda model, head, *_: done.append("cut") or head)
    measured = "export.litemodel.comparison.mean_average_precision"
    monkeypatch.setattr(measured, lambda detect, dataset, title: done.append(title) or 0.5)
    options = ("--model", saved, "--size", "64x96", "--out", tmp_path / "detector.tflite", "--data", f"voc:{dogs}")
    assert export(*options, "--svd", 12, 8) == 0
    assert done == ["Keras", "cut", "TFLite"]


def test_the_map_of_the_file_is_that_of_the_model(saved, converted, dogs, tmp_path, capsys):
    options = ("--model", saved, "--size", "64x96", "--out", tmp_path / "detector.tflite", "--data", f"voc:{dogs}")
    assert export(*options) == 0
    before, after = re.search(r"this size: ([\d.]+) of the Keras model, ([\d.]+)", capsys.readouterr().out).groups()
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [False, True], ids=["by weights", "by responses"])
def test_smaller_layers_answer_as_the_model_that_is_cut_alike(saved, content, pictures, tmp_path, capsys, calibrated):
    out, photos = tmp_path / "detector.tflite", [tmp_path / f"{index}.png" for index in range(2)]
    for photo, picture in zip(photos, pictures, strict=False):
        Image.fromarray(picture).save(photo)
    options = ("--calibrate", *photos) if calibrated else ()
    assert export("--model", saved, "--size", "64x96", "--out", out, "--svd", 12, 8, *options) == 0
    printed = capsys.readouterr().out
    assert "fc6 and fc7 cut to the ranks 12 and 8" in printed
    compared = 2 if calibrated else 4  # the pictures of --calibrate, else drawn ones
    assert f"compared with the Keras model: {compared} pictures" in printed
    with zipfile.ZipFile(out) as files:
        assert json.loads(files.read("config.json"))["svd"] == [12, 8]
    # fc6 has 7 x 7 x 512 inputs and 32 units: 12 (25088 + 32) numbers instead of 25088 x 32.
    saved_bytes = 4 * (25088 * 32 - 12 * (25088 + 32))
    assert len(content) - out.stat().st_size == pytest.approx(saved_bytes, rel=0.02)


def test_int8_measures_on_the_pictures_given(saved, converted, pictures, tmp_path, capsys):
    photos = [tmp_path / f"{index}.png" for index in range(3)]
    for photo, picture in zip(photos, pictures, strict=False):
        Image.fromarray(picture).save(photo)
    out = tmp_path / "detector.tflite"
    options = ("--model", saved, "--size", "64x96", "--quantize", "int8", "--out", out)
    assert export(*options, "--calibrate", *photos, "--images", *photos) == 0
    assert "quantised to int8 on 3 pictures" in capsys.readouterr().out and out.is_file()


def test_a_file_that_finds_nothing_is_not_written(saved, converted, tmp_path, capsys):
    out = tmp_path / "detector.tflite"
    assert export("--model", saved, "--size", "64x96", "--out", out, "--score-threshold", "0.999") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {out}: not written: the Keras model finds nothing on the 4 pictures")
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_answers_is_not_written(saved, make_model, monkeypatch, contents, tmp_path, capsys):
    # int8 is within its own tolerance, but not within that of float32.
    monkeypatch.setattr("export.litemodel.export.convert", lambda model, size, head: contents["int8"])
    out = tmp_path / "detector.tflite"
    out.write_text("of before")
    assert export("--model", saved, "--size", "64x96", "--out", out, "--force") == 1
    assert f"error: {out}: not written: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["detector.tflite"] and out.read_text() == "of before"


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        ("--quantize int8", "--calibrate: is missing; give some dozens of real pictures: int8 measures"),
        ("--quantize dynamic", "--images: is missing; give some pictures like those of the training: the quantised"),
        ("--calibrate photo.jpg", "--calibrate: has no effect with --quantize none; remove it"),
        ("--quantize int8 --calibrate /no/photo.jpg", "/no/photo.jpg: no such file"),
        ("--size 480", "--size: '480' is not a size"),
        ("--size 0x96", "--size: '0x96' is not a size"),
        ("--size 64x-96", "--size: '64x-96' is not a size"),
        ("--size 64x15", "--size: 64x15 is too small: the feature map would be empty; give sides of at least 16"),
        ("--size 20000x20000", "--size: 20000x20000 is too large: more than 33554432 pixels"),
        ("--score-threshold nan", "--score-threshold"),
        ("--out .", ".: is a folder"),
        ("--model /no/run", "/no/run: no such model file"),
    ],
)  # fmt: skip
def test_a_bad_option_is_one_line(saved, tmp_path, monkeypatch, capsys, options, beginning):
    monkeypatch.setattr("export.litemodel.export.convert", lambda *_: pytest.fail("it was not refused"))
    monkeypatch.chdir(tmp_path)
    assert export("--model", saved, "--size", "64x96", "--out", "detector.tflite", *options.split()) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith(f"error: {beginning}"), errors[-1]
    assert not list(tmp_path.iterdir())
