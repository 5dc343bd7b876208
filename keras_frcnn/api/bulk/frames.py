"""Where the frames of a video come from: a video file, numbered pictures, a camera, or an animated picture."""

import os
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image, ImageSequence

from keras_frcnn.api.bulk.remote import is_url
from keras_frcnn.api.pictures import to_pixels
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.data.pictures.orientation import apply_orientation
from keras_frcnn.data.sources.shared.picture_header import AS_STORED, orientation_of
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.limits import check_pixels

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")  # in lower case
ANIMATED_SUFFIXES = (".gif", ".webp", ".png")
CAMERA = "camera:"  # and its number

_FALLBACK_RATE = 25.0  # frames a second, if the source does not say
_DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises
_NUMBERED = re.compile(r"%0?\d*d")  # the number in the name of numbered pictures, as in printf


class Frame(NamedTuple):
    """One frame of a video."""

    number: int  # from 0
    seconds: float  # since the beginning
    pixels: np.ndarray  # (H, W, 3) uint8 RGB


def is_video(path: str) -> bool:
    """Whether a name is that of a video file, of numbered pictures such as `%04d.png`, or of a camera."""
    return path.lower().endswith(SUFFIXES) or is_live(path) or is_numbered(path)


def is_live(path: str) -> bool:
    """Whether a name is that of a camera, such as `camera:0`, whose video has no end."""
    return path.startswith(CAMERA)


def is_numbered(path: str) -> bool:
    """Whether a name stands for numbered pictures.  In a URL, `%20d` is a space before a d."""
    numbered = _NUMBERED.search(os.path.basename(path)) is not None
    return numbered and not is_url(path) and not os.path.exists(path)


def is_animated(path: str) -> bool:
    """Whether a picture file has several frames."""
    if not path.lower().endswith(ANIMATED_SUFFIXES):
        return False
    try:
        with Image.open(path) as opened:
            return getattr(opened, "n_frames", 1) > 1
    except _DAMAGED:
        return False  # it is read as a picture, which names the problem


class Video:
    """An open video file, camera or row of numbered pictures.  Close it after use."""

    def __init__(self, path: str, every: int):
        """Open a video, of which every `every`th frame counts.  Raises InputError if it cannot be read."""
        self.path, self._every, self._opened_at = path, every, time.monotonic()
        _check_local(path)
        self._capture = cv2.VideoCapture(_camera_number(path) if is_live(path) else path)
        if not self._capture.isOpened():
            self._capture.release()
            if is_live(path):
                raise InputError(path, "cannot be opened", "check the camera's number, and that nothing else uses it")
            raise InputError(path, "is not a readable video", f"give a video file ({' '.join(SUFFIXES)})")
        self.rate = (self._capture.get(cv2.CAP_PROP_FPS) or _FALLBACK_RATE) / every  # frames a second that count
        count = 0 if is_live(path) else self._stated_frames()
        self.stated = -(-count // every)  # frames that count; 0: unknown
        # Some formats only state a length in seconds, which is that of the longest of picture and sound.
        exact = is_live(path) or is_numbered(path)
        self.tolerance = 0 if exact else int(min(self.rate, 0.1 * self.stated))

    def _stated_frames(self) -> int:
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self) -> Iterator[Frame]:
        """The frames that count, up to the end of the video or the first damaged frame."""
        number = 0
        while self._capture.grab():
            if number % self._every == 0:
                seconds = self._seconds()
                readable, pixels = self._capture.retrieve()
                if not readable:
                    return
                yield Frame(number, seconds, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number += 1

    def _seconds(self) -> float:
        """The time of the newest frame since the beginning; of a camera, since the video was opened."""
        if is_live(self.path):
            return time.monotonic() - self._opened_at
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def close(self) -> None:
        """Close the video."""
        self._capture.release()


class Animation:
    """An open animated picture, with the same methods as `Video`."""

    def __init__(self, path: str, every: int, reading: Reading):
        """Open an animated picture, of which every `every`th frame counts.

        Raises InputError if it cannot be read, or if a frame has more than `reading.max_pixels` pixels.
        """
        self.path, self._every = path, every
        self._reading = reading._replace(turned=False)  # the frames are turned here: some have no EXIF data
        try:
            self._opened = Image.open(path)
        except _DAMAGED as error:
            raise _unreadable(path, error) from error
        try:
            check_pixels(path, self._opened.height, self._opened.width, reading.max_pixels)
            self._orientation = orientation_of(self._opened.info.get("exif")) if reading.turned else AS_STORED
            self._durations = _durations(self._opened, path)
        except InputError:
            self._opened.close()
            raise
        self.rate = len(self._durations) / sum(self._durations) / every
        self.stated = -(-getattr(self._opened, "n_frames", 1) // every)
        self.tolerance = 0

    def frames(self) -> Iterator[Frame]:
        """The frames that count, up to the end or the first damaged frame."""
        seconds = 0.0
        for number, duration in enumerate(self._durations):
            if number % self._every == 0:
                self._opened.seek(number)
                pixels = to_pixels(self._opened.convert("RGBA"), self._reading, self.path)
                yield Frame(number, seconds, apply_orientation(tf.constant(pixels), self._orientation).numpy())
            seconds += duration

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


def open_frames(path: str, every: int, reading: Reading) -> Video | Animation:
    """Open whatever the frames come from; see `Video` and `Animation`.  `reading` does not concern a `Video`."""
    return Video(path, every) if is_video(path) else Animation(path, every, reading)


def _durations(opened: Image.Image, path: str) -> list[float]:
    """The durations in seconds of the frames up to the first damaged one.  Raises InputError if there are none."""
    durations: list[float] = []
    try:
        for frame in ImageSequence.Iterator(opened):
            frame.load()  # some formats know the duration only then
            durations.append(frame.info.get("duration", 0) / 1000 or 1 / _FALLBACK_RATE)
    except _DAMAGED as error:
        if not durations:
            raise _unreadable(path, error) from error
    return durations


def _unreadable(path: str, error: Exception) -> InputError:
    return InputError(path, f"not a readable picture ({error})", "give a GIF, WebP or PNG file")


def _check_local(path: str) -> None:
    """Raise InputError unless a video is a file, numbered pictures in a folder, or a camera.

    OpenCV also opens addresses such as rtsp://HOST, and waits for pipes.
    """
    if is_url(path):
        raise InputError(path, "is a video on the network", "download it and give the file")
    exists = os.path.isdir(os.path.dirname(path) or ".") if is_numbered(path) else os.path.isfile(path)
    if not exists and not is_live(path):
        raise InputError(path, "no such file", f"give a video file ({' '.join(SUFFIXES)})")


def _camera_number(path: str) -> int:
    """The number of a camera.  Raises InputError if it is not one."""
    number = path.removeprefix(CAMERA)
    if not number.isdecimal() or len(number) > 4:
        raise InputError(path, f"{number!r} is not the number of a camera", "give camera:0 for the first camera")
    return int(number)
