"""The fingerprint of a run's data, which shows whether the data changed, and what changed.

A stopped training resumes at a position in the stream of images, with weights of numbered classes.  If the data
changed, the position and the numbers have another meaning.
"""

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np

from keras_frcnn.data.example import Dataset, Example
from keras_frcnn.facts.errors import MOST_NAMES

_SPLITS = {"train": "training", "val": "validation"}


def fingerprint(train_set: Dataset, val_set: Dataset) -> dict:
    """The fingerprint of the data of a run, as JSON values.

    Returns:
      {"class_names": [name of class 1, ...], "train": {image id: digest of its annotation}, "val": the same}, with
      the images in their order.  Times and paths of files are left out, so that data may be moved or copied.
    """
    splits = {"train": train_set, "val": val_set}
    return {"class_names": list(train_set.class_names)} | {
        split: {example.image_id: _digest(example) for example in dataset.examples} for split, dataset in splits.items()
    }


def describe_changes(old: dict, new: dict) -> list[str]:
    """One phrase for each change from fingerprint `old` to `new`; empty if they are equal, and so is the order.

    The first few changes of each kind are named, and the others are counted.
    """
    lines = _shortened(_class_changes(old["class_names"], new["class_names"]))
    for split, title in _SPLITS.items():
        before, after = old[split], new[split]
        of_split = f"of the {title} set"
        removed = [name for name in before if name not in after]
        added = [name for name in after if name not in before]
        lines += _shortened(f"image {name} {of_split} was removed" for name in removed)
        lines += _shortened(f"image {name} {of_split} was added" for name in added)
        if old["class_names"] == new["class_names"]:  # other class names change all annotations
            changed = [name for name in before if name in after and before[name] != after[name]]
            lines += _shortened(f"the annotation of image {name} {of_split} changed" for name in changed)
        if not removed and not added:
            places = enumerate(zip(before, after, strict=True), start=1)
            moved = next(((place, *names) for place, names in places if names[0] != names[1]), None)
            if moved:
                place, was, now = moved
                lines.append(f"the order of the images {of_split} changed: place {place} was {was}, is now {now}")
    return lines


def _digest(example: Example) -> str:
    """The first 64 bits of a SHA-256 of the image's size, orientation and objects, in hexadecimal."""
    facts = f"{example.height} {example.width} {example.orientation} {len(example.boxes)}\n"
    digest = hashlib.sha256(facts.encode())
    # Fixed types and byte order: the same on every machine.
    for values, dtype in ((example.boxes, "<f4"), (example.classes, "<i4"), (example.difficult, "u1")):
        digest.update(np.asarray(values).astype(dtype).tobytes())
    for name, optional, dtype in (("crowd", example.crowd, "u1"), ("areas", example.areas, "<f8")):
        if optional is not None:
            digest.update(f"{name}\n".encode() + np.asarray(optional).astype(dtype).tobytes())
    return digest.hexdigest()[:16]


def _class_changes(old: list[str], new: list[str]) -> Iterable[str]:
    for number, (was, now) in enumerate(itertools.zip_longest(old, new), start=1):
        if was is None:
            yield f"class {number} {now!r} was added"
        elif now is None:
            yield f"class {number} {was!r} was removed"
        elif was != now:
            yield f"class {number} was {was!r}, is now {now!r}"


def _shortened(lines: Iterable[str]) -> list[str]:
    """The first few lines; the last one says how many are left out."""
    lines = list(lines)
    left_out = len(lines) - MOST_NAMES
    return lines if left_out <= 0 else [*lines[: MOST_NAMES - 1], f"{lines[MOST_NAMES - 1]} and {left_out} more"]
