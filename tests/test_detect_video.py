"""`keras_frcnn.detect` on videos: every frame is answered, and the copy has the same time base."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import keras_frcnn
from keras_frcnn.api.bulk.frames import Video, open_frames
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.facts.errors import InputError

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


def test_numbered_pictures_are_a_video(detect, saved, tmp_path, capsys):
    folder, out = tmp_path / "walk", tmp_path / "out"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((*SIZE, 3), 40 * number, np.uint8))
    assert detect("--model", saved, folder / "%03d.png", "--out", out) == 0
    assert [json.loads(line)["seconds"] for line in capsys.readouterr().out.splitlines()] == [0, 0.04, 0.08, 0.12]
    assert len(frames_of(out / "pictures" / "walk.detections.mp4")[0]) == 4
    assert detect("--model", saved, folder / "%05d.png", "--out", tmp_path / "other") == 1
    assert f"{folder}/%05d.png: is not a readable video" in capsys.readouterr().err


def test_the_copy_of_pictures_of_several_sizes_has_all_of_them(detect, saved, tmp_path):
    folder, out = tmp_path / "walk", tmp_path / "out"
    folder.mkdir()
    for number, (height, width) in enumerate([(66, 98), (40, 120), (99, 51), (20, 30)]):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((height, width, 3), 200, np.uint8))
    assert detect("--model", saved, folder / "%03d.png", "--out", out) == 0
    copied, _ = frames_of(out / "pictures" / "walk.detections.mp4")
    sizes = {frame.shape for frame in copied}
    assert len(copied) == 4 and len(sizes) == 1


def test_a_stated_length_is_only_roughly_true(detect, saved, tmp_path, monkeypatch):
    """Some formats state the length of picture and sound, and no number of frames."""
    for stated, status in ((FRAMES + 3, 0), (2 * FRAMES, 1)):
        monkeypatch.setattr(Video, "_stated_frames", lambda self, stated=stated: stated)
        path = write_video(tmp_path / f"{stated}.mp4")
        assert detect("--model", saved, path, "--out", tmp_path / f"out {stated}", "--write", "nothing") == status


@pytest.mark.parametrize(("name", "mode"), [("a.gif", "P"), ("a.webp", "RGB"), ("a.png", "RGB")])
def test_animated_pictures_are_pictures_or_videos(detect, saved, tmp_path, capsys, name, mode):
    random, path = np.random.default_rng(0), tmp_path / name
    frames = [Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).convert(mode) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 300, 200], lossless=True)
    command = ("--model", saved, path, "--score", SCORE, "--write", "nothing")
    assert detect(*command) == 0
    ((still,), _) = ([json.loads(line) for line in text.splitlines()] for text in capsys.readouterr())
    assert detect(*command, "--all-frames") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["frame"], line["seconds"]) for line in found] == [(0, 0), (1, 0.1), (2, 0.4)]
    assert found[0]["detections"] == still["detections"] != []
    detector = keras_frcnn.load(saved)
    with Image.open(path) as opened:
        opened.seek(2)
        expected = detector.detect(opened.convert("RGB"), score=SCORE).to_dict()["detections"]
    assert found[2]["detections"] == expected
    assert detect(*command, "--all-frames", "--every", "2") == 0
    assert [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()] == [0, 2]


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
@pytest.mark.parametrize("turned", [True, False])
def test_all_frames_are_turned_as_the_picture_is(tmp_path, name, turned):
    random, path, exif = np.random.default_rng(0), tmp_path / name, Image.Exif()
    exif[0x0112] = 6
    frames = [random.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(3)]
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=100, lossless=True, exif=exif)
    reading = Reading(turned)
    with contextlib.closing(open_frames(str(path), 1, reading)) as opened:
        found = [frame.pixels for frame in opened.frames()]
    np.testing.assert_array_equal(found[0], to_pixels(path, reading))
    np.testing.assert_array_equal(found, [np.rot90(frame, -1) if turned else frame for frame in frames])


@pytest.mark.parametrize("problem", ["over the limit of 10 in all", "not a readable picture"])
def test_an_animation_that_is_refused_is_closed(tmp_path, monkeypatch, problem):
    path, opened = tmp_path / "a.gif", []
    frames = [Image.new("L", (20, 10), shade) for shade in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    open_ = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(open_(path)) or opened[0])
    if problem == "not a readable picture":
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=problem):
        open_frames(str(path), 1, Reading(False, 10 if "limit" in problem else 10**6))
    assert opened[0].fp is None


def test_a_video_without_a_readable_frame_leaves_no_file(detect, saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Video, "frames", lambda _: iter(()))
    path, out = write_video(tmp_path / "a.mp4", frames=2), tmp_path / "out"
    assert detect("--model", saved, path, "--out", out) == 1
    assert f"{path}: has no frame that can be read" in capsys.readouterr().err
    assert not (out / "videos").exists() and not list(out.rglob("*.mp4"))


def test_a_picture_with_one_frame_stays_a_picture(detect, saved, tmp_path, capsys):
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "a.gif")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    command = ("--model", saved, tmp_path, "--all-frames", "--out", tmp_path / "out", "--write", "nothing")
    assert detect(*command) == 1
    printed, errors = capsys.readouterr()
    assert [json.loads(line)["image"] for line in printed.splitlines()] == [
        str(tmp_path / name) for name in ("a.gif", "b.gif")
    ]
    assert f"{tmp_path}/b.gif: not a readable picture" in errors


@pytest.mark.parametrize(
    "name", ["rtsp://h/a.mp4", "https://h/a.mp4", "cache:http://h/%d.mp4", "pipe.mp4", "gone/%d.png"]
)
def test_opencv_opens_only_files(name, tmp_path, monkeypatch):
    """It would connect to the network, or wait for the pipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: pytest.fail("it was opened"))
    os.mkfifo("pipe.mp4")
    with pytest.raises(InputError, match=r"no such file; give a video|is a video on the network; download it"):
        Video(name, 1)


@pytest.fixture
def camera(monkeypatch, video):
    """Camera 0 shows the video, and then waits for Ctrl-C; there is no other camera."""

    class Camera:
        def __init__(self, source):
            assert isinstance(source, int)
            self._capture = capture(str(video) if source == 0 else "none")

        def grab(self):
            if not self._capture.grab():
                raise KeyboardInterrupt
            return True

        def __getattr__(self, name):
            return getattr(self._capture, name)

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    return capture


def test_ctrl_c_ends_the_video_of_a_camera_and_all_is_complete(detect, saved, camera, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert detect("--model", saved, "camera:0", "--out", out, "--score", SCORE) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = lines(out / "videos" / "camera 0.jsonl")
    assert FRAMES - 5 <= len(found) == len(shown) <= FRAMES  # those that were read ahead are not looked into
    assert all(line["video"] == "camera:0" and line["seconds"] >= 0 for line in found)
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    assert len(frames_of(out / "pictures" / "camera 0.detections.mp4")[0]) == len(found)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("camera:1", "camera:1: cannot be opened; check the camera's number"), ("camera:x", "'x' is not the number of a")],
)
def test_a_camera_that_is_not_there_is_listed(detect, saved, camera, capsys, name, problem):
    assert detect("--model", saved, name, "--write", "nothing") == 1
    assert problem in capsys.readouterr().err


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
