"""The client's command line: its answers for a real export, what it refuses, and its use outside of the project."""

import http.client
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import client
from export.savedmodel.signatures import save
from keras_frcnn.api.pictures import detect_pixels

ROOT = Path(__file__).resolve().parents[3]
both_protocols = pytest.mark.parametrize("protocol", ["rest", "grpc"])


def run(capsys, *arguments):
    """Exit status, lines of standard output and of standard error of the command line called in this process."""
    status = 0
    try:
        client.main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The folder of versions of the small detector."""
    base = tmp_path_factory.mktemp("exported") / "detector"
    save(model, model.head, {}, base / "1")
    return base


def test_the_client_finds_what_the_keras_model_finds(model, exported, serving_server, tmp_path, capsys):
    """Over both protocols; labels from the export's assets."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 96), (90, 60), (64, 80))]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = [detect_pixels(model, image) for image in images]
    assert all(len(scores) > 3 for _, _, scores in expected)
    with serving_server.ServingServer({"detector": exported}) as server:
        for protocol in ("rest", "grpc"):
            found = client.detect(
                [path.read_bytes() for path in paths], server=server.address(protocol), model="detector",
                protocol=protocol,
            )  # fmt: skip
            for (boxes, classes, scores), answer, image in zip(expected, found, images, strict=True):
                assert answer.error == "" and answer.classes == classes.tolist()
                np.testing.assert_allclose(answer.scores, scores, atol=1e-4)
                np.testing.assert_allclose(answer.boxes, boxes / (image.shape[:2] * 2), atol=1e-3)
        status, lines, _ = run(
            capsys, "--server", server.rest_address, "--model", "detector", "--score", 0,
            "--labels", exported / "1" / "assets" / "labels.json", *paths,
        )  # fmt: skip
    assert status == 0
    for line, (boxes, classes, _) in zip(map(json.loads, lines), expected, strict=True):
        assert [entry["class"] for entry in line["detections"]] == [model.class_names[c - 1] for c in classes]
        np.testing.assert_allclose([entry["box"] for entry in line["detections"]], boxes, atol=0.1)


@both_protocols
def test_pictures_are_drawn_and_lines_printed(first_score, serving, pictures, tmp_path, capsys, protocol):
    labels = tmp_path / "labels.json"
    labels.write_text('{"1": "cat", "2": "dog"}')
    out = tmp_path / "out"
    status, lines, errors = run(
        capsys, "--server", serving.address(protocol), "--model", "detector", "--protocol", protocol, "--out", out,
        "--labels", labels, "--score", 0.2, "--batch", 2, *pictures,
    )  # fmt: skip
    assert status == 0 and errors == [] and serving.batches == [2, 2, 1]
    assert sorted(path.name for path in out.iterdir()) == [f"picture{i}.detections.png" for i in range(5)]
    for i, (line, path) in enumerate(zip(map(json.loads, lines), pictures, strict=True)):
        height, width = 20 + 10 * i, 60 + 10 * i
        dog, cat = line.pop("detections")
        assert line == {"image": str(path), "height": height, "width": width,
                        "picture": str(out / f"picture{i}.detections.png")}  # fmt: skip
        assert dog["class"] == "dog" and dog["score"] == round(first_score(path.read_bytes()), 4)
        np.testing.assert_allclose(dog["box"], np.multiply([0.1, 0.2, 0.5, 0.6], [height, width] * 2), atol=0.006)
        assert cat == {"class": "cat", "score": 0.25, "box": [height / 4, width / 2, height * 0.75, width]}
        with Image.open(line["picture"]) as drawn:
            assert drawn.size == (width, height) and drawn.mode == "RGB"
            given = Image.open(path)
            assert np.any(np.asarray(drawn) != np.asarray(given))


def test_without_labels_classes_are_numbers_and_low_scores_are_left_out(serving, pictures, capsys):
    status, lines, _ = run(capsys, "--server", serving.rest_address, "--model", "detector", pictures[0])
    assert status == 0
    line = json.loads(lines[0])
    assert [found["class"] for found in line["detections"]] == [2]  # the second is scored under 0.5
    assert line["picture"] == str(pictures[0].parent / "picture0.detections.png")


def test_pictures_the_server_cannot_read_are_named_and_the_others_written(serving, pictures, tmp_path, capsys):
    pictures[1].write_bytes(b"broken")
    out = tmp_path / "out"
    status, lines, errors = run(
        capsys, "--server", serving.rest_address, "--model", "detector", "--out", out, *pictures
    )
    assert status == 1
    assert errors == [f"error: {pictures[1]}: the server cannot read it (no PNG)"]
    written = [0, 2, 3, 4]
    assert [json.loads(line)["image"] for line in lines] == [str(pictures[i]) for i in written]
    assert sorted(path.name for path in out.iterdir()) == [f"picture{i}.detections.png" for i in written]


@both_protocols
def test_a_server_that_fails_is_one_line_and_exit_status_1(serving, pictures, capsys, protocol):
    status, lines, errors = run(
        capsys, "--server", serving.address(protocol), "--protocol", protocol, "--model", "gone", pictures[0]
    )
    assert status == 1 and lines == [] and len(errors) == 1
    assert errors[0].startswith("error: model gone is not served at 127.0.0.1:")


def test_bad_input_is_one_line_and_exit_status_2(png, serving, pictures, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(pictures[0], folder)
    no_map = tmp_path / "labels.json"
    no_map.write_text('["cat"]')
    too_few = tmp_path / "few.json"
    too_few.write_text('{"1": "cat"}')
    endless, pipe = tmp_path / "endless.json", tmp_path / "pipe"
    endless.write_text("[" * 100_000)
    os.mkfifo(pipe)
    cut = tmp_path / "cut.png"
    cut.write_bytes(png(200, 200)[:60])
    for arguments, beginning, tries in (
        (["gone.png"], "gone.png: no such file", 0),
        ([tmp_path], f"{tmp_path}: no such file", 0),
        ([pictures[0], folder / "picture0.png", "--out", folder], f"{folder}/picture0.detections.png: two pictures", 0),
        ([pictures[0], "--labels", tmp_path / "gone"], f"{tmp_path}/gone: no such file", 0),
        ([pictures[0], "--labels", pipe], f"{pipe}: no such file", 0),
        ([pictures[0], "--labels", endless], f"{endless}: not a label map", 0),
        ([pictures[0], "--labels", no_map], f"{no_map}: not a label map", 0),
        ([pictures[0], "--labels", pictures[0]], f"{pictures[0]}: not a label map", 0),
        ([pictures[0], "--labels", too_few], "--labels has no name for class 2", 1),
        ([pictures[0], "--out", no_map], f"{no_map}: cannot be written", 0),
        ([cut], f"{cut}: Pillow cannot read it", 1),
    ):
        serving.tries = 0
        status, lines, errors = run(capsys, "--server", serving.rest_address, "--model", "detector", *arguments)
        assert status == 2 and lines == [] and len(errors) == 1 and serving.tries == tries, errors
        assert errors[0].startswith(f"error: {beginning}")


@pytest.mark.parametrize(
    "option, value",
    [("--server", "localhost"), ("--server", "http://localhost:8501"), ("--server", "localhost:x"), ("--timeout", "0"),
     ("--timeout", "nan"), ("--timeout", "1e12"), ("--batch", "0"), ("--version", "a b"), ("--protocol", "http"),
     ("--score", "nan"), ("--score", "1.1"), ("--score", "high")],
)  # fmt: skip
def test_options_out_of_range_are_refused(capsys, option, value):
    arguments = {"--server": "localhost:8501", "--model": "detector", option: value}
    status, _, errors = run(capsys, *(part for pair in arguments.items() for part in pair), "picture.png")
    assert status == 2 and f"argument {option}: " in errors[-1]


def test_ctrl_c_is_one_line(pictures, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "detect", interrupt)
    status, _, errors = run(capsys, "--server", "localhost:1", "--model", "detector", pictures[0])
    assert status == 130 and errors == ["", "Interrupted."]


def test_an_address_may_be_of_ipv6():
    options = client.parse_arguments(["--server", "[::1]:8501", "--model", "m", "p.png"])
    assert http.client.HTTPConnection(options.server).host == "::1"


def test_the_file_alone_asks_over_rest_with_pillow_only(serving, pictures, tmp_path):
    """Copied elsewhere, it imports neither the project nor NumPy, gRPC or TensorFlow."""
    copied = shutil.copy(ROOT / "export" / "client.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", copied, "--server", serving.rest_address, "--model", "detector",
         *map(str, pictures)], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 5
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "PIL" in imported
    assert not imported & {"keras_frcnn", "export", "numpy", "grpc", "google", "tensorflow", "tensorflow_serving"}
