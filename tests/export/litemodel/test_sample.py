"""The sample that uses a TFLite file: it runs without this project, and resizes as in training."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from export.litemodel.comparison import tflite_detector
from keras_frcnn.data.pictures.images import resize_picture

ROOT = Path(__file__).resolve().parents[3]
SIZE = (64, 96)
ALLOWED = ("ai_edge_litert", "numpy", "numpy.libs", "PIL", "pillow.libs")


@pytest.fixture(scope="module")
def bare_packages(tmp_path_factory):
    """A folder with only the packages that the sample needs."""
    folder = tmp_path_factory.mktemp("packages")
    places = [Path(module.__file__).parents[1] for module in (np, Image)] + [Path(schema.__file__).parents[1]]
    for name in ALLOWED:
        place = next((place / name for place in places if (place / name).exists()), None)
        if place is not None:  # only the wheels of some platforms have .libs
            (folder / name).symlink_to(place)
    return folder


def run_bare(packages, program, *arguments):
    """Run Python text without site-packages, the user's packages or this project; returns what it prints."""
    begin = f"import sys; sys.path.append({str(packages)!r}); sys.argv[0] = 'sample'\n"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + program, *map(str, arguments)],
        capture_output=True, text=True, env=environment, cwd=packages, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sample_runs_with_litert_numpy_and_pillow_alone(exported, bare_packages, pictures, tmp_path):
    picture, photo = resize_picture(pictures[0], SIZE).numpy(), tmp_path / "photo.png"
    Image.fromarray(picture).save(photo)
    look = "import importlib.util\nprint([importlib.util.find_spec(name) for name in ('tensorflow', 'keras_frcnn')])"
    assert run_bare(bare_packages, look).strip() == "[None, None]"
    sample = (ROOT / "export" / "tflite_sample.py").read_text(encoding="utf-8")
    lines = run_bare(bare_packages, sample, exported, photo).splitlines()

    boxes, classes, scores = tflite_detector(exported)(picture)
    assert len(lines) == len(scores) > 10
    height, width = SIZE
    for line, box, number, score in zip(lines, boxes, classes, scores, strict=True):
        y0, x0, y1, x1 = box * [height, width, height, width]
        place = f"y {y0:.1f} to {y1:.1f}, x {x0:.1f} to {x1:.1f}"
        assert line == f"{score:.3f}  {('background', 'cat', 'dog', 'hen')[number]:16}  {place}"


@pytest.mark.parametrize(("policy", "turned"), [("auto", False), ("ignore", False), ("apply", True), (None, False)])
def test_the_sample_turns_the_picture_if_the_model_does(
    exported, bare_packages, pictures, stored_turned, tmp_path, policy, turned
):
    shown, photo, copy = Image.fromarray(pictures[0]), tmp_path / "photo.png", tmp_path / "copy.tflite"
    stored, exif = stored_turned(shown, 3)
    stored.save(photo, exif=exif)
    with zipfile.ZipFile(exported) as archive:
        config = json.loads(archive.read("config.json"))
        labels = archive.read("labels.txt")
    config["detector"]["image"] = {} if policy is None else {"exif": policy}
    copy.write_bytes(exported.read_bytes()[: find_archive(exported)])
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("labels.txt", labels)
        archive.writestr("config.json", json.dumps(config))
    sample = (ROOT / "export" / "tflite_sample.py").read_text(encoding="utf-8")
    found = run_bare(bare_packages, sample, copy, photo)
    (shown if turned else stored).save(photo)
    assert found == run_bare(bare_packages, sample, copy, photo)
    (stored if turned else shown).save(photo)
    assert found != run_bare(bare_packages, sample, copy, photo)


def find_archive(path):
    """The position in a .tflite file at which its ZIP archive starts."""
    with zipfile.ZipFile(path) as archive:
        return min(entry.header_offset for entry in archive.infolist())


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (200, 33)])
def test_the_sample_resizes_as_training_does(size):
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    ours = resize_picture(image, size).numpy().astype(int)
    pillow = Image.fromarray(image).transform(
        size[::-1], Image.Transform.EXTENT, (0, 0, 100, 80), Image.Resampling.BILINEAR
    )
    assert np.abs(np.asarray(pillow).astype(int) - ours).max() <= 1  # Pillow truncates, TensorFlow rounds
