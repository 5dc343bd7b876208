"""Names in a written data set: of classes, splits and picture files."""

import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.shared.picture_folders import SUFFIXES
from keras_frcnn.data.writers.losses import RENAMED, Losses

_UNSAFE = re.compile(r"[^\w.-]+")  # keeps the letters of all languages
_LONGEST = 200  # bytes of a name without suffix; file systems allow 255
_PNG_START = b"\x89PNG"


def all_class_names(datasets: Iterable[Dataset]) -> tuple[str, ...]:
    """The class names of all splits; sorted if those of each split are.

    Data without declared classes have the sorted names of the objects in each split.
    """
    listed = [dataset.class_names for dataset in datasets]
    names = tuple(dict.fromkeys(name for names in listed for name in names))
    return tuple(sorted(names)) if all(list(one) == sorted(one) for one in listed) else names


def safe_names(datasets: Mapping[str, Dataset], losses: Losses) -> dict[str, list[str]]:
    """A file name without suffix for each picture, by split.

    It is the image id with other characters than letters, digits, `.`, `_` and `-` replaced.  All names differ, also on
    file systems that do not tell capitals from small letters.  Counts the ids that changed.
    """
    taken: set[str] = set()
    names = {}
    for split, dataset in datasets.items():
        names[split] = [_unique(one.image_id, taken) for one in dataset.examples]
        pairs = zip(dataset.examples, names[split], strict=True)
        losses.count(RENAMED, sum(one.image_id != name for one, name in pairs))
    return names


def safe_splits(splits: Iterable[str]) -> dict[str, str]:
    """A name for each split that can name a file or folder."""
    taken: set[str] = set()
    return {split: _unique(split, taken) for split in splits}


def place_picture(source: str, folder: Path, name: str, link: bool) -> str:
    """Copy or hard-link a picture into a folder, and return its new file name.

    Where the file system cannot link, the picture is copied.
    """
    target = folder / f"{name}{_suffix(source)}"
    if link:
        try:
            os.link(os.path.realpath(source), target)
            return target.name
        except OSError:  # another file system, too many links, or no links at all
            pass
    shutil.copyfile(source, target)
    return target.name


def _unique(name: str, taken: set[str]) -> str:
    """A safe name that is not taken; adds it to `taken`."""
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    safe = safe.encode()[:_LONGEST].decode(errors="ignore").rstrip(".")
    if not safe or safe[0] in ".-":  # hidden files, and names that look like options
        safe = f"_{safe.lstrip('.')}"
    candidate, number = safe, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{safe}_{number}"
    taken.add(candidate.casefold())
    return candidate


def _suffix(source: str) -> str:
    """The suffix of a picture file in lower case, or that of its format if its own says nothing."""
    suffix = Path(source).suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    with open(source, "rb") as file:
        return ".png" if file.read(len(_PNG_START)) == _PNG_START else ".jpg"
