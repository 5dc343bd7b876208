"""The picture that belongs to a VOC annotation: files are indexed once by name, and looked up for each annotation."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.data.sources.shared.annotations import Problems
from keras_frcnn.data.sources.shared.picture_folders import SUFFIXES
from keras_frcnn.facts.errors import InputError

OTHER_PICTURE = "the <filename> in the XML and the XML's own name point to different pictures: <filename> used"
SEVERAL_PICTURES = "several pictures have the name of the XML: the nearest folder used, and .jpg before .png"

Parts = tuple[str, ...]  # a folder, as the names on the path to it from the folder that is indexed


class Place(NamedTuple):
    """One file below an indexed folder."""

    folder: Parts
    name: str


class FileIndex:
    """The files below a folder, by their name without suffix.

    Attributes:
      root: the folder.
    """

    def __init__(self, root: Path, folders: Iterable[tuple[Parts, Sequence[str]]]) -> None:
        """`folders` are pairs of a folder and the names of the files in it, see `walk`."""
        self.root = root
        self._by_stem: dict[str, list[Place]] = {}
        for folder, names in folders:
            for name in names:
                self._by_stem.setdefault(os.path.splitext(name)[0], []).append(Place(folder, name))

    def path(self, place: Place) -> Path:
        return self.root / "/".join((*place.folder, place.name))

    def named(self, name: str) -> list[Place]:
        """The files of this name, or else those whose suffix differs only in its case."""
        stem, suffix = os.path.splitext(name)
        alike = [place for place in self._by_stem.get(stem, ()) if _suffix(place.name) == suffix.lower()]
        return [place for place in alike if place.name == name] or alike

    def pictures_of(self, stem: str) -> list[Place]:
        """The JPEG and PNG files of this name without suffix."""
        return [place for place in self._by_stem.get(stem, ()) if _suffix(place.name) in SUFFIXES]

    def pictures(self) -> Iterator[Place]:
        """All JPEG and PNG files."""
        return (place for stem in self._by_stem for place in self.pictures_of(stem))


def walk(root: Path) -> Iterator[tuple[Parts, list[str]]]:
    """Each folder below `root`, sorted, with the names of its files.  Hidden files and folders are left out.

    Links to folders are followed; a folder that is reached twice is given once.
    """
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # Archives made on a Mac hold __MACOSX/ and files ._NAME beside the real ones.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        yield Path(folder).relative_to(root).parts, sorted(name for name in names if not name.startswith("."))


def find_picture(file: Path, near: Parts, filename: str, files: FileIndex, problems: Problems) -> Path:
    """The picture that the XML's `filename` names, or else the picture with the XML's own name.

    Args:
      file: the annotation file.
      near: its folder.  Of several pictures of one name, the nearest one is taken.
      filename: what the annotation states.
      files: the index of the pictures.
      problems: counts what was decided.

    Raises:
      InputError: there is no such picture, or several are equally near.
    """
    # Only the last part of the path counts: some tools write a whole path of another machine, and no path may lead out
    # of the folder.
    stated = filename.replace("\\", "/").rpartition("/")[2]
    own, named = files.pictures_of(file.stem), files.named(stated) if stated else []
    if not own and not named:
        wanted = f"{file.stem}.jpg" if stated in ("", f"{file.stem}.jpg") else f"{stated} or {file.stem}.jpg"
        raise InputError(f"{file}, filename", f"picture not found: {files.root}/{wanted}", "add the picture")
    if len({*own, *named}) == 1:  # the usual case
        return files.path((own or named)[0])
    # A name that an annotation kept from before it was copied may exist in another, farther folder.
    best = max(nearness(place.folder, near) for place in (*own, *named))
    own, named = ([place for place in places if nearness(place.folder, near) == best] for places in (own, named))
    found, others = _first(named or own, near, file, files)
    # People copy an annotation to another picture and forget to change `filename`.  Nothing else reveals this fault.
    if own and named and os.path.splitext(found.name)[0] != file.stem:
        own_name = _first(own, near, file, files)[0].name
        problems.repaired(OTHER_PICTURE, str(file), "filename", f"write {own_name} or rename the XML")
    if others:
        problems.count(SEVERAL_PICTURES, str(file))
    return files.path(found)


def nearness(folder: Parts, near: Parts) -> tuple[bool, int]:
    """How near two folders are: whether they are one, then how many parts both begin with and end with."""
    start = _common(folder, near)
    return folder == near, start + _common(folder[start:][::-1], near[start:][::-1])


def likely_picture(stem: str, near: Parts, files: FileIndex) -> Place | None:
    """The nearest picture of this name, without a look at the annotation; None if there is none."""
    places = files.pictures_of(stem)
    if len(places) <= 1:
        return places[0] if places else None
    return min(places, key=lambda place: _rank(place, near))


def _first(places: Sequence[Place], near: Parts, file: Path, files: FileIndex) -> tuple[Place, Sequence[Place]]:
    """The first of the equally near files in the order of preference, and the others."""
    first, *others = sorted(places, key=lambda place: _rank(place, near))
    tied = [place for place in (first, *others) if len(place.folder) == len(first.folder)]
    if len({place.folder for place in tied}) > 1:
        names = ", ".join(str(files.path(place)) for place in tied)
        fix = "remove the copies, or name the folder of the pictures with --images-root"
        raise InputError(file, f"several pictures have its name: {names}", fix)
    return first, others


def _rank(place: Place, near: Parts) -> tuple:
    """Sorts the nearest file to the front: then fewer folders, lower-case suffixes, JPEG before PNG."""
    is_same, common = nearness(place.folder, near)
    suffix = os.path.splitext(place.name)[1]
    order = SUFFIXES.index(suffix.lower()) if suffix.lower() in SUFFIXES else len(SUFFIXES)
    return not is_same, -common, len(place.folder), place.folder, suffix != suffix.lower(), order, place.name


def _common(a: Parts, b: Parts) -> int:
    """The number of parts that both begin with."""
    return next((count for count, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
