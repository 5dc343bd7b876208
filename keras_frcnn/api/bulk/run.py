"""Detect objects in many pictures, one after the other, and write what was asked for."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from keras_frcnn.api.bulk.formats import FROM_RECORD, draw, drawn_path, write_voc
from keras_frcnn.api.bulk.inputs import PictureFile
from keras_frcnn.api.bulk.record import Record
from keras_frcnn.api.result import Result
from keras_frcnn.api.streaming import Finder, stream
from keras_frcnn.data.writers.losses import Loss, Losses
from keras_frcnn.facts.errors import InputError

Progress = Callable[[Iterable[Result], int], Iterable[Result]]  # wraps an iterable of that many items, as tqdm does


class Wanted(NamedTuple):
    """What a detection writes."""

    out: Path | None  # the folder for everything; None: drawn pictures go beside the pictures, and nothing is recorded
    formats: frozenset[str]  # of "pictures", "voc", "coco" and "csv"
    score: float  # the least score of a detection
    batch_size: int
    resume: bool


class Summary(NamedTuple):
    """What became of the pictures."""

    pictures: int  # in all
    done_before: int  # by the command that this one resumes
    errors: tuple[str, ...]  # of the pictures that could not be read
    losses: tuple[Loss, ...]  # what the formats could not hold


def detect_all(
    finder: Finder,
    model: str,
    pictures: Sequence[PictureFile],
    wanted: Wanted,
    progress: Progress,
    show: Callable[[str], object],
) -> Summary:
    """Detect the objects in all pictures, show a JSON line for each, and write what is wanted.

    Args:
      finder: finds the objects.
      model: the `digest` of the finder's model; a record is bound to it.
      pictures: those that an earlier record has are left out, and so are those that cannot be read.
      wanted: what to write.
      progress: see `Progress`.
      show: takes the JSON lines.

    Raises:
      InputError: an output cannot be written, or the folder holds a record that does not belong to this detection.
    """
    errors, losses = [], Losses()
    settings = {"model": model, "score": wanted.score, "formats": sorted(wanted.formats)}
    with ExitStack() as stack:
        record = None if wanted.out is None else stack.enter_context(Record(wanted.out, settings, wanted.resume))
        done = record.done if record else set()
        left = [picture for picture in pictures if picture.path not in done]
        results = stream(finder, (picture.path for picture in left), wanted.score, wanted.batch_size)
        for picture, result in zip(left, progress(results, len(left)), strict=True):
            try:
                line = _write(result, picture, wanted, losses)
                if record:
                    record.add({**result.to_dict(rounded=False), **line})
            except OSError as error:
                fix = "make room or give another folder with --out, then run the same command with --resume"
                raise InputError(
                    error.filename or picture.path, f"cannot be written ({error.strerror})", fix
                ) from error
            show(json.dumps({**result.to_dict(), **line}))
            if "error" in line:
                errors.append(line["error"])
    if record and wanted.out is not None:
        for name in sorted(wanted.formats & FROM_RECORD.keys()):
            file, write = FROM_RECORD[name]
            write(record.path, wanted.out / file, pictures, finder.class_names)
    return Summary(len(pictures), len(pictures) - len(left), tuple(errors), tuple(losses.listed()))


def _write(result: Result, picture: PictureFile, wanted: Wanted, losses: Losses) -> dict[str, Any]:
    """Write the outputs of one picture; returns what its line says about them."""
    if result.error is not None:
        return {"error": result.error}
    if "voc" in wanted.formats and wanted.out is not None:
        write_voc(result, picture, wanted.out / "Annotations", losses)
    if "pictures" not in wanted.formats:
        return {}
    beside = Path(picture.path).parent
    target = drawn_path(beside if wanted.out is None else wanted.out / "pictures", picture)
    try:
        draw(result, target)
    except InputError as error:  # the file has changed since it was read
        return {"error": str(error)}
    return {"picture": str(target)}
