"""Names of splits: short names for those that a data set has, and several names joined with `+`."""

import re
from collections.abc import Iterable, Sequence

from keras_frcnn.data.sources.shared.annotations import SourcePictures
from keras_frcnn.data.sources.spec import ALL, Request
from keras_frcnn.facts.errors import InputError

_SAME = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


def short_name(name: str) -> str:
    """A split's name without year and in its usual spelling: `train2017` is `train`, `valid` is `val`."""
    lower = re.sub(r"[-_]?(19|20)\d\d$", "", name.lower())
    return _SAME.get(lower, lower)


def spellings(name: str) -> tuple[str, ...]:
    """The names that a split may have, the given one first."""
    short = short_name(name)
    return tuple(dict.fromkeys((name, short, *(other for other, same in _SAME.items() if same == short))))


def chosen_splits(request: Request, available: Sequence[str]) -> tuple[str, ...]:
    """The splits of the data that a request means.

    The request joins names with `+`.  A name is one of `available`, or means the only one of them with the same
    `short_name`.  `spec.ALL` means all of them.

    Raises:
      InputError: a name means none of the splits or several, or it occurs twice.
    """
    if request.split == ALL:
        return tuple(available)
    chosen: list[str] = []
    for name in request.split.split("+"):
        found = _meant(name, available, request)
        if found in chosen:
            raise InputError(f"{request.where}, split {request.split!r}", f"{found} occurs twice", "name it once")
        chosen.append(found)
    return tuple(chosen)


def _meant(name: str, available: Sequence[str], request: Request) -> str:
    if name in available:
        return name
    alike = [other for other in available if short_name(other) == short_name(name)]
    if len(alike) == 1:
        return alike[0]
    where = f"{request.where}, split {name!r}"
    if alike:
        raise InputError(where, f"several splits have this name: {', '.join(alike)}", "write the whole name of one")
    raise InputError(where, "the data has no such split", f"use one of: {', '.join((*available, ALL))}")


def joined(parts: Iterable[tuple[str, SourcePictures]]) -> SourcePictures:
    """The pictures of several splits in order, and the class names of all.

    Image ids of several splits start with the name of their split, e.g. `train/000001`: each split may count its
    pictures from 0.
    """
    read = list(parts)
    if len(read) == 1:
        return read[0][1]
    pictures = (
        picture._replace(image_id=f"{split}/{picture.image_id}") for split, part in read for picture in part.pictures
    )
    names = dict.fromkeys(name for _, part in read for name in part.class_names or ())
    return SourcePictures(tuple(pictures), tuple(names) or None)
