"""Detection with Apache Beam: the same as `keras_frcnn.detect`, on one worker and on two.

Beam wants other versions than the rest of the tests, so it gets a virtual environment of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CORRUPT = 5
WORKERS = {
    "one worker": (),
    "two workers": ("--", "--direct_num_workers", "2", "--direct_running_mode", "multi_processing"),
    "portable runner": (
        "--",
        "--runner",
        "PortableRunner",
        "--job_endpoint",
        "embed",
        "--environment_type",
        "LOOPBACK",
    ),
}


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """The Python of an environment with Beam."""
    folder = tmp_path_factory.mktemp("beam") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    # Without the versions that continuous integration prescribes: Beam needs older ones of some packages.
    without = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    found = subprocess.run(
        [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "apache-beam"],
        env=without, capture_output=True, text=True,
    )  # fmt: skip
    if found.returncode:
        pytest.skip(f"apache-beam cannot be fetched: {found.stderr.strip().splitlines()[-1]}")
    install = [python, "-m", "pip", "install", "--quiet", f"{ROOT}[beam]"]
    subprocess.run(install, env=without, check=True)
    return python


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """500 pictures in two folders, 5 of them corrupt."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for number in range(500):
        path = folder / ("sub" if number % 2 else "") / f"{number:04d}.png"
        if number % 100 == 50:
            path.write_bytes(b"no picture" if number > 99 else b"")
        else:
            noise = np.random.default_rng(number).integers(0, 256, (64, 96, 3), np.uint8)
            Image.fromarray(noise).save(path)
    return folder


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def command(python, saved, photos, out, *options):
    words = [
        "-m",
        "keras_frcnn.detect_beam",
        "--model",
        saved,
        "--out",
        out,
        "--score",
        "0.25",
        f"{photos}/**",
        *options,
    ]
    return [str(word) for word in (python, *words)]


def run(*arguments):
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True)


def lines(out, kind):
    found = [json.loads(line) for path in sorted(out.glob(f"{kind}-*")) for line in path.read_text().splitlines()]
    by_name = {line["image"]: line for line in found}
    assert len(by_name) == len(found), "a picture has several lines"
    return by_name


@pytest.fixture(scope="module")
def expected(run_here, saved, photos, tmp_path_factory):
    from keras_frcnn.detect import main

    out = tmp_path_factory.mktemp("expected") / "out"
    assert run_here(main, "--model", saved, photos, "--out", out, "--score", "0.25", "--write", "coco") == 1
    found = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    return {line["image"]: line for line in found}


def assert_complete(out, expected):
    answered, failed = lines(out, "detections"), lines(out, "errors")
    assert len(answered) == 500 - CORRUPT and len(failed) == CORRUPT
    assert answered.keys() | failed.keys() == expected.keys()
    for name, line in failed.items():
        assert line["error"] == expected[name]["error"]
    for name, line in answered.items():
        ours, theirs = line["detections"], expected[name]["detections"]
        assert [one["class"] for one in ours] == [one["class"] for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one["box"], other["box"], atol=1e-2)
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    assert sum(len(line["detections"]) for line in answered.values()) > 500


@pytest.mark.parametrize("workers", WORKERS)
def test_500_pictures_give_what_detect_gives(python, saved, photos, expected, tmp_path, workers):
    done = run(python, saved, photos, tmp_path / "out", "--coco", *WORKERS[workers])
    assert done.returncode == 1, done.stderr
    assert f"{500 - CORRUPT} pictures answered: {tmp_path}/out/detections-*.jsonl" in done.stdout
    assert f"{CORRUPT} of 500 files could not be read: {tmp_path}/out/errors-*.jsonl" in done.stderr
    assert_complete(tmp_path / "out", expected)
    rows = json.loads((tmp_path / "out" / "detections.coco.json").read_text())
    assert len(rows) == sum(len(line["detections"]) for line in expected.values())
    first = next(line for line in expected.values() if line["detections"])
    of_first = [row for row in rows if row["image_id"] == int(Path(first["image"]).stem)]
    ymin, xmin, ymax, xmax = first["detections"][0]["box"]
    assert len(of_first) == len(first["detections"])
    assert any(np.allclose(row["bbox"], [xmin, ymin, xmax - xmin, ymax - ymin], atol=1e-2) for row in of_first)


def test_a_killed_worker_loses_nothing(python, saved, photos, expected, tmp_path):
    """The local runner does not replace a lost worker, as a cluster does: the same command again is complete."""
    out, two = tmp_path / "out", WORKERS["two workers"]
    with subprocess.Popen(
        command(python, saved, photos, out, *two), env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        temporary = ()
        while process.poll() is None and not any(size_of(path) for path in temporary):
            time.sleep(0.05)
            temporary = [path for path in out.rglob("*") if path.is_file()]  # of the results, when workers write them
        workers = children_of(process.pid)
        assert workers, "the pipeline had ended before a worker could be killed"
        os.kill(workers[-1], signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 75, errors
    last = errors.splitlines()[-1]
    assert last.startswith("error: the pipeline failed (") and last.endswith("run the same command again")
    assert not list(out.iterdir())
    assert run(python, saved, photos, out, *two).returncode == 1
    assert_complete(out, expected)


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was renamed
        return 0


def children_of(parent):
    """The processes of Beam's workers that descend from a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            own = [int(path.name)] if b"apache_beam.runners.worker.sdk_worker_main" in words else []
            found += own + children_of(int(path.name))
    return found


def test_record_files(python, detect, saved, photos, tmp_path):
    import tensorflow as tf

    def bytes_of(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    records, names = tmp_path / "pictures.tfrecord", [photos / "0000.png", photos / "sub" / "0001.png"]
    with tf.io.TFRecordWriter(str(records)) as writer:
        for path in names:
            fields = {"image/encoded": bytes_of(path.read_bytes()), "image/source_id": bytes_of(path.stem.encode())}
            writer.write(tf.train.Example(features=tf.train.Features(feature=fields)).SerializeToString())
        writer.write(b"no example")
    words = [
        python,
        "-m",
        "keras_frcnn.detect_beam",
        "--model",
        saved,
        "--out",
        tmp_path / "out",
        "--tfrecord",
        records,
    ]
    words += ["--tfrecord", f"{tmp_path}/*.tfrecord"]  # the same file
    done = subprocess.run([*map(str, words), "--score", "0.25"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "2 pictures answered" in done.stdout, done.stderr
    assert lines(tmp_path / "out", "detections").keys() == {"0000", "0001"}
    (error,) = lines(tmp_path / "out", "errors").values()
    assert error["error"].startswith("a record is not a tf.train.Example with image/encoded and image/source_id")


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        (["{photos}/**/*.jpg"], "{photos}/**/*.jpg: no file matches; correct the pattern"),
        (["{photos}/**", "--model", "gone"], "gone: no such model file"),
        (["{photos}/**", "--score", "2"], "--score must be at least 0 and less than 1"),
        (["{photos}/**", "--batch-size", "0"], "--batch-size: 0 is not a whole number"),
        (["x://y/*"], "x://y/*: cannot be read ("),
        (["{photos}/**", "--", "--runner", "Nonsense"], "--runner: cannot be used ("),
        (["{photos}/**", "--", "--runner", "no_such_package.Runner"], "--runner: cannot be used ("),
        ([], "pictures: none are named"),
    ],
)
def test_bad_input_is_one_line(python, saved, photos, tmp_path, options, beginning):
    options = [option.format(photos=photos) for option in options]
    words = [python, "-m", "keras_frcnn.detect_beam", "--out", tmp_path / "out", "--model", saved, *options]
    done = subprocess.run([str(word) for word in words], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {beginning.format(photos=photos)}"), done.stderr


def test_a_picture_counts_once_and_a_named_file_may_have_any_suffix(python, saved, photos, tmp_path):
    (folder := tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "c.jfif", "d.unknown", "notes.txt"):
        (folder / name).write_bytes((photos / "0000.png").read_bytes())
    patterns = [folder / name for name in ("*", "*.png", "a.png", "d.unknown")]
    words = [python, "-m", "keras_frcnn.detect_beam", "--out", tmp_path / "out", "--model", saved, *patterns]
    done = subprocess.run([str(word) for word in words], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "3 pictures answered" in done.stdout, done.stderr
    assert {Path(name).name for name in lines(tmp_path / "out", "detections")} == {"a.png", "b.png", "d.unknown"}


def test_earlier_results_are_not_replaced(python, saved, photos, tmp_path):
    (tmp_path / "detections-00000-of-00001.jsonl").write_text("")
    done = run(python, saved, photos, tmp_path)
    assert done.returncode == 2 and "holds detections of an earlier run; give another folder with --out" in done.stderr
