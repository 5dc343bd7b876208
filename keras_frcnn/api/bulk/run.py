"""Detect objects in many pictures and videos, one after the other, and write what was asked for."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from keras_frcnn.api.bulk import frames, remote, video
from keras_frcnn.api.bulk.formats import FROM_RECORD, draw, write_voc
from keras_frcnn.api.bulk.inputs import DRAWN, PictureFile
from keras_frcnn.api.bulk.model import digest
from keras_frcnn.api.bulk.record import Record
from keras_frcnn.api.finding.slicing import sliced
from keras_frcnn.api.finding.streaming import Finder, stream
from keras_frcnn.api.result import Result
from keras_frcnn.data.pictures.files import Reading
from keras_frcnn.data.writers.losses import Loss, Losses
from keras_frcnn.data.writers.voc import check_class_names
from keras_frcnn.facts.errors import InputError

Progress = Callable[[Iterable[Result], int], Iterable[Result]]  # wraps an iterable of that many items, as tqdm does


class Wanted(NamedTuple):
    """What a detection writes."""

    out: Path | None  # the folder for everything; None: drawn pictures go beside the pictures, and nothing is recorded
    formats: frozenset[str]  # of "pictures", "voc", "coco" and "csv"
    score: float  # the least score of a detection
    batch_size: int  # of pictures
    slice_size: int | None  # the side of slices to look into as well, in pixels; None: only look at whole pictures
    every: int  # of a video, look into every `every`th frame
    all_frames: bool  # look into all frames of an animated picture, as in a video, and not only into its first
    max_pixels: int  # of a picture that is read
    resume: bool


class Summary(NamedTuple):
    """What became of the files."""

    files: int  # in all
    done_before: int  # by the command that this one resumes
    errors: tuple[str, ...]  # of the files that could not be read
    losses: tuple[Loss, ...]  # what the formats could not hold


def detect_all(
    finder: Finder,
    model: str,
    files: Sequence[PictureFile],
    wanted: Wanted,
    progress: Progress,
    show: Callable[[str], object],
) -> Summary:
    """Detect the objects in all pictures, then in all videos, show JSON lines, and write what is wanted.

    Args:
      finder: finds the objects.
      model: the path of the finder's model; a record is bound to its content.
      files: pictures and videos.  Those that an earlier record has are left out, and so are those that cannot be read.
      wanted: what to write.
      progress: see `Progress`.
      show: takes the JSON lines.

    Raises:
      InputError: an output cannot be written, a format cannot hold a class name, or the folder holds a record that does
        not belong to this detection.
    """
    if "voc" in wanted.formats:
        check_class_names(finder.class_names, "leave voc out of --write")
    losses, errors, finder = Losses(), [], sliced(finder, wanted.slice_size)
    with ExitStack() as stack:
        record = None if wanted.out is None else stack.enter_context(_record(wanted, wanted.out, model))
        done = record.done if record else set()
        left = [file for file in files if file.path not in done]
        moving = {
            file for file in left if frames.is_video(file.path) or (wanted.all_frames and frames.is_animated(file.path))
        }
        pictures = [file for file in left if file not in moving]
        for file, result in zip(pictures, progress(_results(finder, pictures, wanted), len(pictures)), strict=True):
            with _naming(file.path):
                line = _write(result, file, wanted, losses)
                if record:
                    record.add({**result.to_dict(rounded=False), **line})
            show(json.dumps({**result.to_dict(), **line}))
            errors += [line["error"]] if "error" in line else []
        for file in (file for file in left if file in moving):
            with _naming(file.path):
                line = _detect_in_video(finder, file, wanted, progress, show)
                if record:
                    record.add(line)
            errors += [line["error"]] if "error" in line else []
    if record and wanted.out is not None:
        for name in sorted(wanted.formats & FROM_RECORD.keys()):
            target, write = FROM_RECORD[name]
            with _naming(target):
                write(record.path, wanted.out / target, files, finder.class_names)
    return Summary(len(files), len(files) - len(left), tuple(errors), tuple(losses.listed()))


def _record(wanted: Wanted, out: Path, model: str) -> Record:
    settings = {
        "model": digest(model),
        "score": wanted.score,
        "formats": sorted(wanted.formats),
        "slice_size": wanted.slice_size,
        "every": wanted.every,
        "all_frames": wanted.all_frames,
    }
    return Record(out, settings, wanted.resume)


def _results(finder: Finder, pictures: Sequence[PictureFile], wanted: Wanted) -> Iterator[Result]:
    named = (remote.later(picture.path) or picture.path for picture in pictures)
    return stream(finder, named, wanted.score, wanted.batch_size, wanted.max_pixels)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn an output that cannot be written into an InputError; `path` is what it was for."""
    try:
        yield
    except BrokenPipeError:  # standard output, which nobody reads any more
        raise
    except OSError as error:
        fix = "make room or give another folder with --out, then run the same command with --resume"
        raise InputError(error.filename or path, f"cannot be written ({error.strerror})", fix) from error


def _write(result: Result, picture: PictureFile, wanted: Wanted, losses: Losses) -> dict[str, Any]:
    """Write the outputs of one picture; returns what its line says about them."""
    if result.error is not None:
        return {"error": result.error}
    if "voc" in wanted.formats and wanted.out is not None:
        write_voc(result, picture, wanted.out / "Annotations", losses)
    if "pictures" not in wanted.formats:
        return {}
    target = _drawn(picture, wanted, DRAWN)
    try:
        draw(result, target)
    except InputError as error:  # the file has changed since it was read
        return {"error": str(error)}
    return {"picture": str(target)}


def _detect_in_video(
    finder: Finder, file: PictureFile, wanted: Wanted, progress: Progress, show: Callable[[str], object]
) -> dict[str, Any]:
    """Detect in a video and write its outputs; returns its line of the record."""
    line = {"image": file.path, "detections": []}  # those of the frames have a file of their own
    lines = None if wanted.out is None else wanted.out / "videos" / f"{file.place}.jsonl"
    copy = _drawn(file, wanted, video.DRAWN) if "pictures" in wanted.formats else None
    try:
        reading = Reading(finder.turns, wanted.max_pixels)
        with contextlib.closing(frames.open_frames(file.path, wanted.every, reading)) as opened:
            targets = video.Targets(lines, copy)
            count = video.detect_in_video(finder, opened, wanted.score, targets, progress, show)
    except InputError as error:
        return {**line, "error": str(error)}
    if count < opened.stated - opened.tolerance:
        problem = f"{file.path}: ends after {count} of {opened.stated} frames; the file is damaged"
        return {**line, "frames": count, "error": problem}
    return {**line, "frames": count}


def _drawn(file: PictureFile, wanted: Wanted, end: str) -> Path:
    """Where the drawn picture or video goes."""
    folder = Path(file.path).parent if wanted.out is None else wanted.out / "pictures"
    return folder / f"{file.place}{end}"
