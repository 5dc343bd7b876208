"""A folder of 300 mixed pictures, through each kind of model, and through a kill in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.litemodel.graph import convert
from export.litemodel.metadata import add_files, with_metadata
from export.savedmodel.signatures import save
from keras_frcnn.facts.config import config_to_dict

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SIZE = (64, 96)
CORRUPT = 6


def picture(number):
    """A picture of squares, which each way of resizing and of storing with losses changes little."""
    random = np.random.default_rng(number)
    return Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8)).resize(SIZE[::-1], Image.Resampling.NEAREST)


def turned(path, shown):
    exif = Image.Exif()
    exif[0x0112] = 3
    shown.rotate(180).save(path, exif=exif, quality=95)


def sixteen_bits(path, shown):
    Image.fromarray(np.asarray(shown.convert("L")).astype(np.uint16) * 257).save(path)


WAYS = {  # the end of the name, and how it is written
    ".jpg": lambda path, shown: shown.save(path, quality=95),
    ".jpeg": turned,
    ".JPG": lambda path, shown: shown.convert("CMYK").save(path, "JPEG", quality=95),
    ".png": lambda path, shown: shown.save(path),
    " alpha.png": lambda path, shown: shown.convert("RGBA").save(path),
    " grey.png": lambda path, shown: shown.convert("L").save(path),
    " 16 bits.png": sixteen_bits,
    ".webp": lambda path, shown: shown.save(path, lossless=True),
    ".tif": lambda path, shown: shown.save(path),
    " cmyk.tiff": lambda path, shown: shown.convert("CMYK").save(path),
    ".bmp": lambda path, shown: shown.save(path),
    " palette.gif": lambda path, shown: shown.quantize(64).save(path),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """294 pictures of twelve kinds in three folders, their names with blanks and other letters, and 6 corrupt ones."""
    folder = tmp_path_factory.mktemp("photos")
    for place in ("", "zwei Wörter", "zwei Wörter/猫"):
        (folder / place).mkdir(exist_ok=True)
    for number in range(300 - CORRUPT):
        end, write = list(WAYS.items())[number % len(WAYS)]
        place = ("", "zwei Wörter", "zwei Wörter/猫")[number % 3]
        write(folder / place / f"Bild {number:03d} é{end}", picture(number))
    cut = (folder / "Bild 000 é.jpg").read_bytes()[:-300]
    corrupt = {"text.jpg": b"no picture", "empty.png": b"", "cut.jpg": cut, "start.webp": b"RIFF\0\0\0\0WEBP"}
    corrupt |= {"start.tif": b"II*\0", "start.gif": b"GIF89a"}
    assert len(corrupt) == CORRUPT
    for name, content in corrupt.items():
        (folder / "zwei Wörter" / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def models(make_model, small_config, tmp_path_factory):
    """The same detector in three forms."""
    import dataclasses

    folder = tmp_path_factory.mktemp("models")
    test = dataclasses.replace(small_config.test, score_threshold=0.2)
    model = make_model(config=dataclasses.replace(small_config, test=test))
    model.save(folder / "model.keras")
    save(model, model.head, {"detector": config_to_dict(model.config)}, folder / "1")
    (folder / "detector.tflite").write_bytes(with_metadata(convert(model, SIZE), SIZE))
    add_files(folder / "detector.tflite", model.class_names, model.config, SIZE, "none")
    return {"keras": folder / "model.keras", "SavedModel": folder / "1", "TFLite": folder / "detector.tflite"}


def command(model, photos, out, *options):
    words = [
        "keras_frcnn.detect",
        "--model",
        model,
        photos,
        "--out",
        out,
        "--score",
        "0.25",
        "--write",
        "coco",
        *options,
    ]
    return [sys.executable, "-m", *map(str, words)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run(*arguments):
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True)


def own_lines(stderr):
    """What the command wrote to standard error, without TensorFlow's lines, which begin with the date."""
    return [line for line in stderr.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]


def recorded(out):
    return {line["image"]: line for line in map(json.loads, (out / "detections.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def whole(models, photos, tmp_path_factory):
    """What the Keras model finds: (folder, process)."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, run(models["keras"], photos, out)


def test_all_readable_pictures_are_answered_and_the_corrupt_ones_listed(whole, photos):
    out, done = whole
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 300
    heading, *listed = own_lines(done.stderr)
    assert heading == f"{CORRUPT} of 300 files could not be read:"
    names = ("cut.jpg", "empty.png", "start.gif", "start.tif", "start.webp", "text.jpg")
    for line, name in zip(listed, names, strict=True):
        assert line.startswith(f"  {photos}/zwei Wörter/{name}: not a readable picture (")
    answered = [line for line in recorded(out).values() if "error" not in line]
    assert len(answered) == 294 and sum(len(line["detections"]) for line in answered) > 294
    assert {(line["height"], line["width"]) for line in answered} == {SIZE}


@pytest.mark.parametrize("kind", ["SavedModel", "TFLite"])
def test_exports_find_the_same(models, photos, whole, tmp_path, kind):
    done = run(models[kind], photos, tmp_path / "out")
    assert done.returncode == 1
    expected, found = recorded(whole[0]), recorded(tmp_path / "out")
    assert found.keys() == expected.keys()
    for image, line in expected.items():
        ours, theirs = found[image], line
        assert ours.get("error") == theirs.get("error")
        assert [one["class"] for one in ours["detections"]] == [one["class"] for one in theirs["detections"]], image
        for one, other in zip(ours["detections"], theirs["detections"], strict=True):
            np.testing.assert_allclose(one["box"], other["box"], atol=0.1)
            assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_a_kill_in_the_middle_loses_nothing_and_repeats_nothing(models, photos, whole, tmp_path):
    out = tmp_path / "out"
    arguments = command(models["keras"], photos, out)
    with subprocess.Popen(
        arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for _ in range(120):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    before = recorded_whole_lines(out)
    done = run(models["keras"], photos, out, "--resume")
    assert done.returncode == 1 and 100 < len(before) < 290
    good = {image for image, line in before.items() if "error" not in line}
    assert own_lines(done.stderr)[:2] == [
        f"{len(good)} of 300 files were done before",
        f"{CORRUPT} of 300 files could not be read:",
    ]
    shown = {json.loads(line)["image"] for line in done.stdout.splitlines()}
    assert not shown & good and len(shown | good) == 300
    assert recorded(out) == recorded(whole[0])
    assert (out / "detections.coco.json").read_text() == (whole[0] / "detections.coco.json").read_text()


def recorded_whole_lines(out):
    """The record without a line that the kill left unfinished."""
    *complete, _ = (out / "detections.jsonl").read_text().split("\n")
    return {line["image"]: line for line in map(json.loads, complete)}
