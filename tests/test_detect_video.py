"""`keras_frcnn.detect` on videos: every frame is answered, and the copy has the same time base."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import keras_frcnn

ROOT = Path(__file__).resolve().parents[1]
SCORE, RATE, FRAMES, SIZE = 0.2, 12.5, 30, (66, 98)


def write_video(path, frames=FRAMES, code="mp4v"):
    """A smooth picture that moves by 3 pixels a frame."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8), (0, 0), 3) * 4
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), RATE, SIZE[::-1])
    for number in range(frames):
        writer.write(np.roll(picture, 3 * number, axis=1))
    writer.release()
    return path


def frames_of(path):
    """The frames of a video as RGB, and its rate."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, pixels = capture.read()
        if not there:
            break
        frames.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, rate


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "clip one.mp4")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("every", [1, 4])
def test_every_frame_is_answered_and_drawn(detect, saved, video, tmp_path, capsys, every):
    out = tmp_path / "out"
    assert detect("--model", saved, video, "--out", out, "--score", SCORE, "--every", every) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found, frames = lines(out / "videos" / "clip one.jsonl"), frames_of(video)[0][::every]
    assert len(shown) == len(found) == len(frames) == -(-FRAMES // every)
    detector = keras_frcnn.load(saved)
    for place, (line, short, frame) in enumerate(zip(found, shown, frames, strict=True)):
        assert (line["video"], line["frame"]) == (str(video), place * every)
        assert line["seconds"] == pytest.approx(place * every / RATE, abs=0.001)
        assert (line["height"], line["width"]) == SIZE and "image" not in line
        expected = detector.detect(frame, score=SCORE)
        np.testing.assert_allclose([one["box"] for one in line["detections"]], expected.boxes, atol=1e-3)
        assert [one["class"] for one in short["detections"]] == list(expected.names) != []
    copied, rate = frames_of(out / "pictures" / "clip one.detections.mp4")
    assert len(copied) == len(frames) and rate == pytest.approx(RATE / every)
    drawn = np.asarray(detector.detect(frames[-1], score=SCORE).draw()).astype(int)
    assert np.abs(copied[-1][: drawn.shape[0], : drawn.shape[1]] - drawn).mean() < 12  # lossy, but the same picture
    assert lines(out / "detections.jsonl") == [{"image": str(video), "detections": [], "frames": len(frames)}]


def test_a_video_in_a_folder_is_found_after_the_pictures_and_done_once(detect, saved, tmp_path, capsys):
    folder, out = tmp_path / "folder", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    write_video(folder / "sub" / "a.mp4", frames=3)
    cv2.imwrite(str(folder / "z.png"), np.zeros((*SIZE, 3), np.uint8))
    command = ("--model", saved, folder, "--out", out, "--write", "pictures", "coco")
    assert detect(*command) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("image") for line in shown] == [str(folder / "z.png"), None, None, None]
    assert (out / "pictures" / "sub" / "a.detections.mp4").is_file()
    assert detect(*command, "--resume") == 0
    assert capsys.readouterr() == ("", "2 of 2 files were done before\n")


def test_without_a_folder_the_copy_lies_beside_the_video(detect, saved, tmp_path, capsys):
    path = write_video(tmp_path / "a.mp4", frames=2)
    assert detect("--model", saved, path) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.detections.mp4", "a.mp4"]


def test_damaged_videos_are_listed_and_the_others_answered(detect, saved, tmp_path, capsys):
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    (folder / "text.mp4").write_text("no video")
    cut = write_video(folder / "cut.avi", code="MJPG")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write_video(folder / "whole.mp4", frames=2)
    assert detect("--model", saved, folder, "--out", out, "--write", "nothing") == 1
    first, *listed = capsys.readouterr().err.splitlines()
    assert first == "2 of 3 files could not be read:"
    frames = len(lines(out / "videos" / "cut.jsonl"))
    assert 5 < frames < FRAMES
    assert listed[0] == f"  {folder}/cut.avi: ends after {frames} of {FRAMES} frames; the file is damaged"
    assert listed[1].startswith(f"  {folder}/text.mp4: is not a readable video; give a video file (.mp4 ")
    assert {Path(line["image"]).name: "error" in line for line in lines(out / "detections.jsonl")} == {
        "cut.avi": True,
        "text.mp4": True,
        "whole.mp4": False,
    }


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(saved, tmp_path):
    peaks = []
    for frames in (200, 2000):
        path = write_video(tmp_path / f"{frames}.mp4", frames=frames)
        code = (
            "import sys\nfrom keras_frcnn.detect import main\nmain(sys.argv[1:])\n"
            "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )
        command = [sys.executable, "-c", code, "--model", str(saved), str(path), "--out", str(tmp_path / str(frames))]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[-2]) / 1024)
        assert len(lines(tmp_path / str(frames) / "videos" / f"{frames}.jsonl")) == frames
    assert peaks[1] < peaks[0] + 60  # MiB; the frames of the longer one are 35 MiB, those of the drawings 1.3 GiB
