"""Pictures and VOC annotations in folders of any names, without image sets.

An annotation lies beside its picture, or in another folder under the same name: `images/1.jpg` and `annotations/1.xml`,
`train/1.jpg` and `train/1.xml`, `images/train/1.jpg` and `annotations/train/1.xml`.  A split is the name of a folder:
it holds every annotation that lies below a folder of this name, and every one whose picture does.  `val` also means a
folder `valid` or `validation`, if there is no folder `val`.
"""

import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.data.sources.shared.split_names import spellings
from keras_frcnn.data.sources.spec import ALL
from keras_frcnn.data.sources.voc.pictures import FileIndex, Parts, Place, likely_picture, walk
from keras_frcnn.facts.errors import InputError

NO_XML = "picture has no XML and may just be unlabelled: left out"

_XML = ".xml"  # in any case


class Listed(NamedTuple):
    """One annotation file to read."""

    image_id: str
    file: Path
    near: Parts  # its folder, to find the nearest picture of its name
    files: FileIndex  # where its picture is


class Listing(NamedTuple):
    """The pictures of a split in order, and what is left out: (kind of problem, file)."""

    pictures: list[Listed]
    left_out: list[tuple[str, Path]]


class _Annotation(NamedTuple):
    """An annotation file, and the picture with its name."""

    place: Place
    picture: Place | None

    @property
    def folders(self) -> tuple[Parts, Parts]:
        """Its folder and that of its picture."""
        return self.place.folder, self.place.folder if self.picture is None else self.picture.folder


def list_folders(root: Path, split: str, images_root: Path | None) -> Listing:
    """The annotations below `root` that belong to a split, sorted by folder and name.

    Raises:
      InputError: there are no annotations, none belongs to the split, one is listed twice, or two have one picture.
    """
    annotations, files = _scan(root, images_root)
    identifiers = _identifiers(annotations)
    terms = [_find_term(_parse_term(split, term), root, annotations) for term in split.split("+")]
    listed: dict[Place, Listed] = {}
    owners: dict[Place, Path] = {}  # picture -> its annotation file
    for term in terms:
        members = [one for one in annotations if any(_is_below(folder, term) for folder in one.folders)]
        for one in members:
            file = root.joinpath(*one.place.folder, one.place.name)
            if one.place in listed:
                problem = f"picture {identifiers[one.place]} is in two of the folders"
                raise InputError(f"split {split!r}", problem, "list each picture once in a split")
            if one.picture is not None and owners.setdefault(one.picture, file) != file:
                problem = f"picture {files.path(one.picture)} has another XML file, {owners[one.picture]}"
                raise InputError(file, problem, "remove one of the two, or name the right folder as the split")
            listed[one.place] = Listed(identifiers[one.place], file, one.place.folder, files)
    labelled = {one.picture for one in annotations}
    unlabelled = (place for place in files.pictures() if place not in labelled)
    loose = sorted(place for place in unlabelled if any(_is_below(place.folder, term) for term in terms))
    return Listing(list(listed.values()), [(NO_XML, files.path(place)) for place in loose])


def folder_splits(root: Path, images_root: Path | None) -> tuple[str, ...]:
    """The names of the folders that divide the pictures, e.g. `train` and `valid`, sorted; empty if there are none."""
    return _split_names(_scan(root, images_root)[0])


def describe_files(root: Path) -> str:
    """What a folder holds, for messages: the three most frequent suffixes."""
    counts = Counter(os.path.splitext(name)[1].lower() or "no suffix" for _, names in walk(root) for name in names)
    return ", ".join(f"{count} x {suffix}" for suffix, count in counts.most_common(3)) or "no files"


def _scan(root: Path, images_root: Path | None) -> tuple[list[_Annotation], FileIndex]:
    """All annotation files below `root`, sorted, and the index of the pictures."""
    folders = list(walk(root))
    places = [Place(folder, name) for folder, names in folders for name in names if name.lower().endswith(_XML)]
    if not places:
        fix = (
            "use a folder that holds Annotations, JPEGImages, ImageSets/Main, or one that holds such a folder for each "
            f"year, or one that holds pictures and their XML files (it holds {describe_files(root)})"
        )
        raise InputError(root, "not a VOC tree", fix)
    without = ((folder, [name for name in names if not name.lower().endswith(_XML)]) for folder, names in folders)
    files = FileIndex(root, without) if images_root is None else FileIndex(images_root, walk(images_root))
    return [_Annotation(place, likely_picture(_stem(place), place.folder, files)) for place in places], files


def _identifiers(annotations: Sequence[_Annotation]) -> dict[Place, str]:
    """The identifier of each annotation: its folder and its name, without the folders that all of them share."""
    folders = {one.place.folder for one in annotations}
    shared = functools.reduce(set.intersection, (set(folder) for folder in folders))
    short = {folder: tuple(part for part in folder if part not in shared) for folder in folders}
    if len(set(short.values())) < len(folders):
        short = {folder: folder for folder in folders}
    return {one.place: "/".join((*short[one.place.folder], _stem(one.place))) for one in annotations}


def _split_names(annotations: Sequence[_Annotation]) -> tuple[str, ...]:
    """For each annotation the first folder in its path, or in that of its picture, that not all others have."""
    pairs = {one.folders for one in annotations}
    if len(pairs) == 1:
        ((folder, of_picture),) = pairs
        both = "/".join(part for part in folder if part in of_picture)
        return (both,) if both else ()
    shared = functools.reduce(set.intersection, ({*folder, *of_picture} for folder, of_picture in pairs))
    own = (next((part for part in (*a, *b) if part not in shared), None) for a, b in pairs)
    return tuple(sorted({name for name in own if name is not None}))


def _parse_term(split: str, term: str) -> Parts | None:
    """The parts of a folder's name; None for all pictures."""
    if term.strip() == ALL:
        return None
    parts = tuple(term.strip().strip("/").split("/"))
    if any(part in ("", ".", "..") for part in parts):
        fix = "use the name of a folder, such as train, and join several with +"
        raise InputError(f"split {split!r}", f"{term!r} is not the name of a folder", fix)
    return parts


def _is_below(folder: Parts, term: Parts | None) -> bool:
    """Whether the folder lies in a folder of the name `term`, at any depth."""
    if term is None:
        return True
    return any(folder[start : start + len(term)] == term for start in range(len(folder) - len(term) + 1))


def _find_term(term: Parts | None, root: Path, annotations: Sequence[_Annotation]) -> Parts | None:
    """The folder that a term means: its own name, or else another spelling of it, such as `valid` for `val`."""
    if term is None:
        return None
    folders = {folder for one in annotations for folder in one.folders}
    alike = [(*term[:-1], spelling) for spelling in spellings(term[-1])]
    found = [name for name in alike if any(_is_below(folder, name) for folder in folders)]
    if term in found or len(found) == 1:
        return term if term in found else found[0]
    names = _split_names(annotations)
    choice = f"use one of its folders: {', '.join(names)}; or" if names else "it has no folders for splits:"
    fix = f"{choice} let --split-by 0.8/0.1/0.1 make the splits train, val and test"
    problem = f"{root} has no image sets, and no folder of that name with annotations"
    raise InputError(f"split {'/'.join(term)!r}", problem, fix)


def _stem(place: Place) -> str:
    return os.path.splitext(place.name)[0]
