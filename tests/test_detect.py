"""`keras_frcnn.detect` on many pictures: all that can be read are answered, and an interrupted command resumes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import keras_frcnn
from keras_frcnn.api.bulk import run as bulk

ROOT = Path(__file__).resolve().parents[1]
SCORE = "0.2"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of several formats in two levels, and three that cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for number, name in enumerate(("a.jpg", "b c.png", "more/ü.webp", "more/d.tif", "more/e.bmp", "more/f.gif")):
        Image.fromarray(np.roll(noise, 9 * number, axis=1)).save(folder / name)
    (folder / "text.jpg").write_text("no picture")
    (folder / "more" / "empty.png").write_bytes(b"")
    Image.fromarray(noise).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-200])
    return folder


READABLE = ["a.jpg", "b c.png", "more/d.tif", "more/e.bmp", "more/f.gif", "more/ü.webp"]  # sorted
UNREADABLE = ["cut.jpg", "text.jpg", "more/empty.png"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_one_error(stderr, beginning):
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: {beginning}"), line


def test_a_folder_is_answered_and_what_cannot_be_read_is_listed(detect, saved, photos, tmp_path, capsys):
    out = tmp_path / "out"
    formats = ("--write", "pictures", "coco", "csv", "voc")
    assert detect("--model", saved, photos, "--out", out, "--score", SCORE, *formats) == 1
    printed, errors = capsys.readouterr()

    shown = [json.loads(line) for line in printed.splitlines()]
    paths = ["a.jpg", "b c.png", "cut.jpg", "text.jpg"]
    paths += [f"more/{name}" for name in ("d.tif", "e.bmp", "empty.png", "f.gif", "ü.webp")]
    assert [line["image"] for line in shown] == [str(photos / path) for path in paths]
    first, *listed = errors.splitlines()
    assert first == "3 of 9 files could not be read:"
    assert [line.split(":")[0].strip() for line in listed] == [str(photos / name) for name in UNREADABLE]

    detector = keras_frcnn.load(saved)
    recorded = {line["image"]: line for line in lines(out / "detections.jsonl")}
    for line in shown:
        record = recorded.pop(line["image"])
        assert line.get("error") == record.get("error")
        if "error" in line:
            continue
        expected = detector.detect(line["image"], score=float(SCORE))
        assert len(expected) and len(line["detections"]) == len(record["detections"]) == len(expected)
        np.testing.assert_allclose([one["box"] for one in record["detections"]], expected.boxes, atol=1e-3)
        np.testing.assert_allclose([one["score"] for one in record["detections"]], expected.scores, rtol=1e-4)
        with Image.open(line["picture"]) as drawn:
            assert drawn.width * line["height"] == drawn.height * line["width"]
    assert not recorded
    drawn = sorted(str(path.relative_to(out / "pictures")) for path in (out / "pictures").rglob("*.png"))
    places = sorted(str(Path(name).with_suffix("")) for name in READABLE)
    assert drawn == [f"{place}.detections.png" for place in places]

    good = [line for line in lines(out / "detections.jsonl") if "error" not in line]
    rows = json.loads((out / "detections.coco.json").read_text())
    assert [row["score"] for row in rows] == [one["score"] for line in good for one in line["detections"]]
    assert {row["image_id"] for row in rows} == set(places)
    y0, x0, y1, x1 = good[0]["detections"][0]["box"]
    np.testing.assert_allclose(rows[0]["bbox"], [x0, y0, x1 - x0, y1 - y0])
    with open(out / "detections.csv", encoding="utf-8", newline="") as file:
        header, *table = csv.reader(file)
    assert header == ["image", "class", "score", "ymin", "xmin", "ymax", "xmax"] and len(table) == len(rows)
    assert [float(value) for value in table[0][3:]] == [y0, x0, y1, x1] and table[0][0] == str(photos / "a.jpg")
    written = sorted(str(path.relative_to(out / "Annotations")) for path in (out / "Annotations").rglob("*.xml"))
    assert written == [f"{place}.xml" for place in places]
    objects = ElementTree.parse(out / "Annotations" / "a.xml").findall("object")
    assert [one.findtext("name") for one in objects] == [one["class"] for one in good[0]["detections"]]
    assert float(objects[0].findtext("bndbox/xmin")) == pytest.approx(x0 + 1)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_interrupted_command_resumes_and_does_nothing_twice(
    detect, saved, photos, tmp_path, capsys, monkeypatch, batch_size
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = ("--model", saved, photos, "--score", SCORE, "--write", "coco", "--batch-size", batch_size)
    assert detect(*command, "--out", whole) == 1
    capsys.readouterr()

    written = []
    write = bulk._write

    def interrupted(result, picture, wanted, losses):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(picture.path)
        return write(result, picture, wanted, losses)

    monkeypatch.setattr(bulk, "_write", interrupted)
    assert detect(*command, "--out", out) == 130
    assert capsys.readouterr().err == "\nInterrupted. Run the same command with --resume to continue.\n"
    monkeypatch.setattr(bulk, "_write", lambda *arguments: written.append(arguments[1].path) or write(*arguments))
    assert detect(*command, "--out", out) == 2
    assert_one_error(
        capsys.readouterr().err, f"{out}/detections.jsonl: holds detections of an earlier run; continue it"
    )
    assert detect(*command, "--out", out, "--resume") == 1
    assert capsys.readouterr().err.startswith("2 of 9 files were done before\n3 of 9 files could not be read:\n")
    assert detect(*command, "--out", out, "--resume") == 1
    assert capsys.readouterr().err.startswith("6 of 9 files were done before\n3 of 9 files could not be read:\n")
    good = [path for path in written if not path.endswith(tuple(Path(name).name for name in UNREADABLE))]
    assert sorted(good) == sorted(str(photos / name) for name in READABLE)
    assert (out / "detections.coco.json").read_text() == (whole / "detections.coco.json").read_text()


def test_a_picture_that_was_repaired_is_found_when_the_work_resumes(detect, saved, photos, tmp_path, capsys):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    command = ("--model", saved, folder, "--out", tmp_path / "out", "--write", "nothing")
    assert detect(*command) == 1
    for name in UNREADABLE:
        shutil.copy(folder / "b c.png", folder / name)
    capsys.readouterr()
    assert detect(*command, "--resume") == 0
    printed, errors = capsys.readouterr()
    assert [json.loads(line)["image"] for line in printed.splitlines()] == [str(folder / name) for name in UNREADABLE]
    assert errors == "6 of 9 files were done before\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["detections.jsonl", "settings.json"]


def test_a_picture_that_changes_before_it_is_drawn_is_listed(detect, saved, photos, tmp_path, capsys, monkeypatch):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    draw = bulk.draw

    def cut_first(result, target):
        if result.source.endswith("a.jpg"):
            (folder / "a.jpg").write_bytes(b"")
        draw(result, target)

    monkeypatch.setattr(bulk, "draw", cut_first)
    out = tmp_path / "out"
    assert detect("--model", saved, folder / "a.jpg", folder / "b c.png", "--out", out) == 1
    assert capsys.readouterr().err.startswith(f"1 of 2 files could not be read:\n  {folder}/a.jpg: not a readable pic")
    assert ["error" in line for line in lines(out / "detections.jsonl")] == [True, False]


def test_another_model_does_not_continue_the_work(detect, saved, make_model, photos, tmp_path, capsys):
    other = tmp_path / "model.keras"
    make_model(seed=1).save(other)
    command = (photos / "a.jpg", "--out", tmp_path / "out", "--write", "nothing")
    assert detect("--model", saved, *command) == 0
    assert detect("--model", other, *command, "--resume") == 2
    assert_one_error(
        capsys.readouterr().err, f"{tmp_path}/out/settings.json: these detections were begun with another mo"
    )


@pytest.mark.slow
def test_a_list_on_standard_input_of_another_process(saved, photos, tmp_path):
    names = "".join(f"{photos / name}\n" for name in [*READABLE, "gone.jpg"])
    command = [sys.executable, "-m", "keras_frcnn.detect", "--model", saved, "--list", "-", "--out", tmp_path / "out"]
    done = subprocess.run(
        command, input=names, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 7
    assert f"  {photos / 'gone.jpg'}: no such file; give the path of a picture" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_is_one_line(saved, photos, tmp_path):
    """The process gets SIGINT after its first picture."""
    link = tmp_path / "links"
    link.mkdir()
    for number in range(300):
        os.link(photos / "a.jpg", link / f"{number}.jpg")
    command = [sys.executable, "-m", "keras_frcnn.detect", "--model", saved, link, "--out", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a parent may ignore it
    ) as process:  # fmt: skip
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "Interrupted. Run the same command with --resume to continue." in errors and "Traceback" not in errors
    assert 0 < len(lines(tmp_path / "out" / "detections.jsonl")) < 300


def test_outputs_go_beside_the_pictures_without_a_folder(detect, saved, photos, tmp_path, capsys):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.copy(folder / "a.jpg", folder / "more" / "a.jpg")
    assert detect("--model", saved, folder / "a.jpg", folder / "more" / "a.jpg") == 0
    pictures = [json.loads(line)["picture"] for line in capsys.readouterr().out.splitlines()]
    assert pictures == [str(folder / "a.detections.png"), str(folder / "more" / "a.detections.png")]


def test_a_picture_with_a_long_name_is_drawn_and_one_with_too_many_pixels_is_listed(detect, saved, tmp_path, capsys):
    small, large = tmp_path / f"{'n' * 245}.png", tmp_path / "large.png"
    Image.new("RGB", (60, 40)).save(small)
    Image.new("RGB", (60, 41)).save(large)
    assert detect("--model", saved, small, large, "--out", tmp_path / "out", "--max-pixels", 2400) == 1
    printed, errors = capsys.readouterr()
    drawn = Path(json.loads(printed.splitlines()[0])["picture"])
    assert drawn.is_file() and drawn.name.endswith(".detections.png") and drawn.name.startswith("n" * 100)
    assert f"{large}: 41 x 60 pixels are over the limit of 2400 in all" in errors


@pytest.mark.parametrize("size", [(1, 1), (400, 4), (3, 500)])
def test_pictures_of_any_shape(detect, saved, tmp_path, capsys, size):
    path = tmp_path / "odd.png"
    Image.new("RGB", size, (200, 100, 50)).save(path)
    assert detect("--model", saved, path) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["width"], line["height"]) == size and Path(line["picture"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (["gone.jpg"], "gone.jpg: no such file"),
        (["{photos}"], "{photos}: is a folder, and there is no --out; give a folder for the detections with --out"),
        (["-"], "-: is not a file, and there is no --out"),
        (["https://example.org/a.jpg"], "https://example.org/a.jpg: is not a file, and there is no --out"),
        (["--list", "x.txt"], "--list: given without --out"),
        (["{photos}/a.jpg", "--resume"], "--resume: given without --out"),
        (["{photos}/a.jpg", "--write", "csv"], "--write: given without --out"),
        (["{photos}/a.jpg", "--score", "-0.1"], "--score must be at least 0 and less than 1 (got -0.1)."),
        (["{photos}/a.jpg", "--score", "1"], "--score must be at least 0 and less than 1 (got 1.0)."),
        (["{photos}/a.jpg", "--score", "nan"], "--score must be at least 0 and less than 1 (got nan)."),
        (["{photos}/a.jpg", "--slice-size", "8"], "--slice-size: 8 pixels are too few for a slice; give 32 or more"),
        (["https://x.org/a.jpg", "--out", "o"], "https://x.org/a.jpg: is on the network; allow it with"),
        (["-", "--list", "-", "--out", "o"], "--list -: standard input is a picture, too; save the list in a file"),
        (["{photos}/a.jpg", "--batch-size", "0"], "--batch-size: 0 is not a whole number of at least 1"),
        (["{photos}/a.jpg", "--every", "0"], "--every: 0 is not a whole number of at least 1"),
        (
            ["{photos}/a.jpg", "--max-pixels", str(2**31)],
            "--max-pixels: 2147483648 is over the limit of 2147483647",
        ),
        (["{photos}/a.jpg", "--model", "{photos}/text.jpg"], "{photos}/text.jpg: not a .keras file"),
        (["{photos}/a.jpg", "--model", "{photos}/gone"], "{photos}/gone: no such model file"),
        (["{photos}/a.jpg", "--out", "{photos}/text.jpg"], "{photos}/text.jpg: cannot be written"),
    ],
)
def test_bad_input_is_one_line(detect, saved, photos, capsys, arguments, beginning):
    arguments = [argument.format(photos=photos) for argument in arguments]
    assert detect("--model", saved, *arguments) == 2
    assert_one_error(capsys.readouterr().err, beginning.format(photos=photos))
