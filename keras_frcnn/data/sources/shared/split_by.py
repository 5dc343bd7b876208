"""The splits of `--split-by`: made from shares, or read from the file that an earlier run wrote."""

import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from keras_frcnn.data.pictures.near_duplicates import NEAR_BITS, near_duplicate_groups, picture_hash
from keras_frcnn.data.sources.shared.annotations import AnnotatedPicture, Problems, SourcePictures
from keras_frcnn.data.sources.shared.splits import share_out
from keras_frcnn.data.sources.spec import ALL, DataSpec
from keras_frcnn.facts.errors import InputError, first_names
from keras_frcnn.facts.files import read_json, write_json
from keras_frcnn.facts.limits import MOST_PIXELS

Progress = Callable[[Iterable, int], Iterable]  # wraps an iterable of that many items, as tqdm does

_NAMES = ("train", "val", "test")
_DECODED = 64  # pixels: a JPEG is decoded at an eighth of its size, but not smaller than this


class Splits(NamedTuple):
    """Which pictures are in which split."""

    members: dict[str, tuple[str, ...]]  # split -> image ids
    made: dict[str, Any]  # how they were made: shares, seed and data, as JSON values
    lines: tuple[str, ...]  # what the user should know


class Divided(NamedTuple):
    """All pictures of the data, and their splits."""

    read: SourcePictures
    problems: Mapping[str, tuple[str, ...]]  # found while they were read, as in `Dataset.problems`
    splits: Splits


def split_names(split_by: str) -> tuple[str, ...]:
    """The names of the splits that `--split-by` gives; raises InputError."""
    shares = parse_shares(split_by)
    return tuple(shares if shares is not None else _read_file(split_by)[0])


def parse_shares(text: str) -> dict[str, float] | None:
    """The shares of `0.8/0.2` (train, val) or `0.8/0.1/0.1` (train, val, test); None if the text names a file.

    Raises:
      InputError: there are not two or three shares over 0 that add up to 1.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        return None
    if len(shares) not in (2, 3) or not all(share > 0 for share in shares) or not abs(math.fsum(shares) - 1) < 1e-6:
        problem = "expected two or three shares over 0 that add up to 1"
        raise InputError(f"--split-by {text}", problem, "write 0.8/0.1/0.1 for train, val and test, or 0.8/0.2")
    return dict(zip(_NAMES, shares, strict=False))


def divide(spec: DataSpec, read: SourcePictures, own_splits: Sequence[str], progress: Progress | None = None) -> Splits:
    """The splits that `--split-by` gives to the pictures; for shares, each picture is decoded and hashed.

    Args:
      spec: holds `split_by` and `split_seed`.
      read: all pictures of the data.
      own_splits: the splits that the data has, for a note.
      progress: shows how many pictures are done.

    Raises:
      InputError: the shares are not valid or give a split without pictures, or the file cannot be read or has other
        pictures than the data.
    """
    assert spec.split_by is not None
    shares = parse_shares(spec.split_by)
    if shares is None:
        members, made = _read_file(spec.split_by)
        _check_same(spec.split_by, members, read.pictures)
        return Splits(members, made, (f"--split-by {spec.split_by}: {_counts(members)}",))
    return _make(spec, shares, read.pictures, own_splits, progress)


def _make(
    spec: DataSpec,
    shares: Mapping[str, float],
    pictures: Sequence[AnnotatedPicture],
    own_splits: Sequence[str],
    progress: Progress | None,
) -> Splits:
    """Splits of these shares, with what the user should know of them."""
    repeated = [image_id for image_id, n in Counter(picture.image_id for picture in pictures).items() if n > 1]
    if repeated:
        raise InputError(
            f"--data {spec.data}", f"image ids occur twice: {first_names(repeated)}", "rename the pictures"
        )
    hashes = hash_pictures([picture.image_path for picture in pictures], progress, spec.max_pixels)
    groups = _groups(hashes)
    classes = [{annotated.class_name for annotated in picture.objects} for picture in pictures]
    members = share_out([picture.image_id for picture in pictures], groups, classes, shares, spec.split_seed)
    group_sizes = [size for size in Counter(groups).values() if size > 1]
    for name, ids in members.items():
        if not ids:
            problem = f"the split {name} gets none of the {len(pictures)} pictures"
            if group_sizes:
                problem += f", of which up to {max(group_sizes)} are near-duplicates and stay together"
            fix = "give it a larger share, or write which picture is in which split to a file for --split-by"
            raise InputError(f"--split-by {spec.split_by}", problem, fix)
    made = {"data": spec.data, "split_by": spec.split_by, "split_seed": spec.split_seed}
    lines = [f"--split-by {spec.split_by}, seed {spec.split_seed}: {_counts(members)}"]
    if own_splits:
        lines.append(
            f"--split-by replaces the splits that the data has ({first_names(own_splits)}): it divides all pictures"
        )
    if group_sizes:
        count = "1 group" if len(group_sizes) == 1 else f"{len(group_sizes)} groups"
        lines.append(
            f"{sum(group_sizes)} pictures have near-duplicates, which stay in one split: {count}, the largest of "
            f"{max(group_sizes)} pictures"
        )
    if None in hashes:
        lines.append(f"{hashes.count(None)} pictures cannot be decoded, and were not compared with the others")
    return Splits(members, made, tuple(lines))


def members_of(divided: Divided, split: str, problems: Problems) -> SourcePictures:
    """The pictures of one split, or of several joined with `+`; `all` gives every picture.

    The classes are those of all pictures.  `problems` gets the faults of these pictures that were found in reading.

    Raises:
      InputError: there is no such split, or it is named twice.
    """
    by_id = {picture.image_id: picture for picture in divided.read.pictures}
    members = divided.splits.members | {ALL: tuple(by_id)}
    chosen: dict[str, AnnotatedPicture] = {}
    for name in split.split("+"):
        if name.strip() not in members:
            fix = f"use one of {', '.join(divided.splits.members)}, or several joined with +"
            raise InputError(f"split {split!r}", f"--split-by gives no split {name.strip()!r}", fix)
        for image_id in members[name.strip()]:
            if image_id in chosen:
                raise InputError(f"split {split!r}", f"picture {image_id} is in it twice", "name each split once")
            chosen[image_id] = by_id[image_id]
    own = {picture.where for picture in chosen.values()}
    others = {picture.where for picture in divided.read.pictures} - own
    for kind, files in divided.problems.items():
        for file in files:
            if file not in others:
                problems.count(kind, file)
    names = divided.read.class_names
    if names is None:
        found = {annotated.class_name for picture in divided.read.pictures for annotated in picture.objects}
        names = tuple(sorted(found)) or None
    return SourcePictures(tuple(chosen.values()), names)


def write_splits(path: Path, splits: Splits) -> None:
    """Write the file that `--split-by` reads.  Raises OSError."""
    write_json(path, {**splits.made, "pictures": {name: list(ids) for name, ids in splits.members.items()}})


def hash_pictures(
    paths: Sequence[Path], progress: Progress | None = None, max_pixels: int = MOST_PIXELS
) -> list[int | None]:
    """The perceptual hash of each picture; None for a picture that cannot be decoded or has too many pixels.

    Threads are enough: Pillow and OpenCV release Python's lock while they work.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashes = pool.map(functools.partial(_hash_picture, max_pixels=max_pixels), paths)
        return list(hashes if progress is None else progress(hashes, len(paths)))


def _hash_picture(path: Path, max_pixels: int) -> int | None:
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                return None
            image.draft("RGB", (_DECODED, _DECODED))  # of a JPEG, only the low frequencies
            return picture_hash(np.asarray(image.convert("RGB")))
    except Exception:  # Pillow raises many types for damaged files; the code that uses the picture reports it
        return None


def _groups(hashes: Sequence[int | None]) -> list[int]:
    """The group of each picture: near-duplicates have one; a picture without a hash is alone."""
    known = [position for position, value in enumerate(hashes) if value is not None]
    groups = list(range(len(hashes)))
    for position, group in zip(known, near_duplicate_groups([hashes[i] or 0 for i in known], NEAR_BITS), strict=True):
        groups[position] = known[int(group)]
    return groups


def _counts(members: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {len(ids)}" for name, ids in members.items()) + " pictures"


def _read_file(path: str) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """The splits in a file, and what else the file says."""
    where = f"--split-by {path}"
    fix = "give shares such as 0.8/0.1/0.1, or the splits.json of a run"
    try:
        value = read_json(path)
    except OSError as error:
        raise InputError(where, f"cannot be read ({error.strerror})", fix) from None
    except ValueError as error:
        raise InputError(where, f"is not JSON ({error})", fix) from None
    pictures = value.pop("pictures", None) if isinstance(value, dict) else None
    if not isinstance(pictures, dict) or not pictures:
        raise InputError(f"{where}, field pictures", "missing, or not an object of splits", fix)
    seen: dict[str, str] = {}
    for name, ids in pictures.items():
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise InputError(f"{where}, field pictures.{name}", "not a list of image ids", fix)
        for one in ids:
            if one in seen:
                problem = f"picture {one} is also in {seen[one]}"
                raise InputError(f"{where}, field pictures.{name}", problem, "list each picture once")
            seen[one] = name
    return {name: tuple(ids) for name, ids in pictures.items()}, value


def _check_same(path: str, members: Mapping[str, Sequence[str]], pictures: Sequence[AnnotatedPicture]) -> None:
    """Raise InputError unless the file lists exactly the pictures of the data."""
    listed = {one for ids in members.values() for one in ids}
    present = {picture.image_id for picture in pictures}
    problems = []
    if listed - present:
        problems.append(f"it lists pictures that the data lacks: {first_names(sorted(listed - present))}")
    if present - listed:
        problems.append(f"it lacks pictures of the data: {first_names(sorted(present - listed))}")
    if problems:
        fix = "restore the data, or give shares to make new splits"
        raise InputError(f"--split-by {path}", "; ".join(problems), fix)
