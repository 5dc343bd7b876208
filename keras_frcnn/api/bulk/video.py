"""Detection in a video: one line for each frame, and a copy of the video with the detections drawn.

Only some frames are in memory at any time.  The copy has no sound.
"""

import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import cv2
import numpy as np

from keras_frcnn.api.bulk.frames import Animation, Frame, Video, is_live
from keras_frcnn.api.finding.streaming import Finder, stream
from keras_frcnn.api.result import Result
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import write_atomically

DRAWN = ".detections.mp4"  # the end of the names of copies, which are not videos to look into


class Targets(NamedTuple):
    """The files that a video leaves behind; None: not written."""

    lines: Path | None  # one JSON line for each frame
    copy: Path | None  # MP4


def detect_in_video(
    finder: Finder,
    video: Video | Animation,
    score: float,
    targets: Targets,
    progress: Callable[[Iterable[Result], int], Iterable[Result]],
    show: Callable[[str], object],
) -> int:
    """Detect the objects in each frame, and write what the targets ask for; returns the number of frames.

    Ctrl-C ends the video of a camera, which has no other end, and what was found is complete then.

    Args:
      finder: finds the objects.
      video: is read to its end.
      score: the least score of a detection.
      targets: the lines are written as they come, the copy has its name only when it is whole.
      progress: wraps the results of that many frames, as tqdm does.
      show: takes the JSON lines.

    Raises:
      InputError: no frame can be read.
      OSError: a target cannot be written.
    """
    waiting: deque[Frame] = deque()  # read, and not yet looked into

    def pixels() -> Iterator[np.ndarray]:
        for frame in video.frames():
            waiting.append(frame)
            yield frame.pixels

    def write(copy_path: Path | None) -> int:
        count = 0
        with contextlib.ExitStack() as stack:
            lines: TextIO | None = None
            copy = None if copy_path is None else stack.enter_context(contextlib.closing(_Copy(copy_path, video.rate)))
            with contextlib.suppress(*((KeyboardInterrupt,) if is_live(video.path) else ())):
                for result in progress(stream(finder, pixels(), score, 1), video.stated):
                    frame = waiting.popleft()
                    about = {"video": video.path, "frame": frame.number, "seconds": frame.seconds}
                    if copy:
                        copy.add(result)
                    if targets.lines:  # an unreadable video leaves no file
                        lines = lines or stack.enter_context(_new_text(targets.lines))
                        lines.write(json.dumps({**about, **_found(result, rounded=False)}) + "\n")
                    show(json.dumps({**about, **_found(result, rounded=True)}))
                    count += 1
        if not count:
            raise InputError(video.path, "has no frame that can be read", "give a video file")
        return count

    if targets.copy is None:
        return write(None)
    counts: list[int] = []
    write_atomically(targets.copy, lambda temporary: counts.append(write(temporary)))
    return counts[0]


def _new_text(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "w", encoding="utf-8")


def _found(result: Result, rounded: bool) -> dict[str, Any]:
    fields = result.to_dict(rounded)
    del fields["image"]
    return fields


def _fitted(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """A frame (H, W, 3) on a canvas of that size, whose border repeats the last pixels; made smaller if it must be."""
    scale = min(1.0, height / frame.shape[0], width / frame.shape[1])
    if scale < 1.0:
        size = max(1, int(frame.shape[1] * scale)), max(1, int(frame.shape[0] * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")


class _Copy:
    """A video of drawn frames, which begins with the first one."""

    def __init__(self, path: Path, rate: float):
        self._path, self._rate = path, rate
        self._size = (0, 0)  # height and width of all frames
        self._writer: cv2.VideoWriter | None = None

    def add(self, result: Result) -> None:
        """Draw and add a frame.  Raises OSError if the file cannot be written."""
        drawn = np.asarray(result.draw())
        if self._writer is None:
            height, width = drawn.shape[:2]
            self._size = height + height % 2, width + width % 2  # MPEG-4 needs even sides
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, self._size[::-1])
            if not self._writer.isOpened():
                raise OSError(None, "the video writer cannot open it")
        self._writer.write(cv2.cvtColor(_fitted(drawn, *self._size), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
