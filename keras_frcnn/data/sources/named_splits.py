"""Which of a data set's splits are asked for, and image ids that are safe as file names."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar

from keras_frcnn.data.sources.spec import ALL, Request
from keras_frcnn.facts.errors import InputError

Files = TypeVar("Files")


def chosen_splits(request: Request, available: Mapping[str, Files]) -> list[Files]:
    """What belongs to each split that the request joins with `+`; `spec.ALL` takes all of them.

    Raises:
      InputError: a split does not exist.
    """
    if request.split == ALL:
        return list(available.values())
    chosen = []
    for name in request.split.split("+"):
        if name not in available:
            names = ", ".join(other for other in available if other != ALL)
            fix = f"use one of: {names}" if names else f"use the split {ALL}, or make splits with --split-by"
            raise InputError(f"{request.where}, split {name!r}", "the data has no such split", fix)
        chosen.append(available[name])
    return chosen


def safe_image_id(name: str) -> str:
    """An image id for a picture of this name: a relative path without `.` and `..`.

    Files of a run are named after the image ids, and must stay in the folder of the run.
    """
    parts = (part for part in PurePosixPath(name.replace("\0", "")).parts)
    return "/".join(part for part in parts if part not in ("/", ".", "..", "//")) or "_"
