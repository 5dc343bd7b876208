"""The pictures and videos that a command names: files, folders, patterns, addresses, and lists in a file."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from keras_frcnn.api.bulk import frames, remote, video
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import name_that_fits

# Formats that can be read, in lower case.  Files of other names are read, too, if they are named one by one.
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
DRAWN = ".detections.png"  # the end of the names of drawn pictures
OWN_OUTPUTS = (DRAWN, video.DRAWN)  # folders and patterns do not stand for these

PATTERN_SIGNS = frozenset("*?[")  # a name with one of them stands for several files


class PictureFile(NamedTuple):
    """One picture or video to look into."""

    path: str  # or a URL, "-" for standard input, a camera, or numbered pictures
    place: str  # the path of its outputs, relative and without suffix


def find_pictures(
    named: Sequence[str], list_file: str | None, beside: bool, allow_network: bool = False
) -> list[PictureFile]:
    """The pictures that a command names, each once, in the order of the names; those of a folder are sorted.

    No two of them have the same outputs.

    Args:
      named: files, folders, which are searched with their subfolders, patterns such as `photos/**/*.jpg`, URLs,
        "-" for a picture on standard input, `camera:0`, and numbered pictures such as `frames/%04d.png`.
      list_file: a text file with one path or URL a line, relative to the working folder; "-" for standard input.  A
        path in it that is not a file is a picture that cannot be read.
      beside: the outputs of a picture go into its own folder, so its place is its name.  Otherwise it is the path below
        the folder that was named.
      allow_network: whether URLs are allowed.

    Raises:
      InputError: a name is neither a file nor a folder and matches none, a folder holds no pictures, there are no
        pictures at all, the list cannot be read, two pictures would have the same outputs, standard input is asked
        for both the list and a picture, or there is a URL that is not allowed.
    """
    if list_file == remote.STANDARD_INPUT and remote.STANDARD_INPUT in named:
        raise InputError("--list -", "standard input is a picture, too", "save the list in a file")
    found = [one for name in named for one in _named(name)]
    if list_file is not None:
        found += [(path, _name(path)) for path in _listed(list_file)]
    once: dict[str, tuple[str, str]] = {}
    for path, relative in found:
        if remote.is_url(path) and not allow_network:
            raise InputError(path, "is on the network", "allow it with --allow-network, or give a file")
        once.setdefault(path if remote.is_url(path) else os.path.abspath(path), (path, relative))
    found = list(once.values())
    if not found:
        raise InputError("pictures", "none are named", "name files, folders or patterns, or give --list FILE")
    if beside:
        found = [(path, _name(path)) for path, _ in found]
    folders = [_folder(path) if beside else "" for path, _ in found]
    names = [PurePath(relative) for _, relative in found]
    # photo.jpg and photo.png in one folder: their outputs keep the suffix.
    counts = Counter(zip(folders, (name.with_suffix("") for name in names), strict=True))
    places = [
        _that_fits(name if counts[folder, name.with_suffix("")] > 1 else name.with_suffix(""))
        for folder, name in zip(folders, names, strict=True)
    ]
    for (_, place), count in Counter(zip(folders, places, strict=True)).items():
        if count > 1:
            one_folder = "name a folder that holds them all instead of the files"
            fix = f"{'rename one of them' if beside else one_folder}, or run the command twice"
            raise InputError(f"pictures {place}", f"{count} of them have this name and would share their outputs", fix)
    return [PictureFile(path, place) for place, (path, _) in zip(places, found, strict=True)]


def _that_fits(place: PurePath) -> str:
    """The place with a name to which the suffixes of the outputs can be added."""
    return place.with_name(name_that_fits(place.name)).as_posix()


def _name(path: str) -> str:
    """The name of a picture's file."""
    if path == remote.STANDARD_INPUT:
        return "standard input"
    if frames.is_live(path):
        return path.replace(":", " ")
    if frames.is_numbered(path):
        return os.path.basename(os.path.dirname(os.path.abspath(path)))  # that of their folder
    return remote.name_in(path) if remote.is_url(path) else PurePath(path).name or "_"  # "/" has no name


def _folder(path: str) -> str:
    """Where the outputs beside a picture lie.  An address has none, and is a place of its own."""
    return path if remote.is_url(path) else os.path.dirname(os.path.abspath(path))


def _named(name: str) -> Iterator[tuple[str, str]]:
    """The path of each picture that a name stands for, and its path relative to the folder that was named."""
    if remote.is_url(name) or name == remote.STANDARD_INPUT or frames.is_live(name) or frames.is_numbered(name):
        yield name, _name(name)
    elif os.path.isdir(name):
        pictures = list(_in_folder(name))
        if not pictures:
            raise InputError(
                name, f"holds no pictures ({' '.join(SUFFIXES)}) and no videos", "give a folder with pictures"
            )
        yield from pictures
    elif os.path.isfile(name):
        yield name, _name(name)
    elif PATTERN_SIGNS & set(name):
        found = (path for path in glob.iglob(name, recursive=True) if os.path.isfile(path))
        matches = sorted(path for path in found if not path.endswith(OWN_OUTPUTS))
        if not matches:
            raise InputError(name, "no file matches", "correct the pattern")
        base = os.path.commonpath([os.path.dirname(path) for path in matches])
        yield from ((path, os.path.relpath(path, base or ".")) for path in matches)
    elif os.path.exists(name):
        raise InputError(name, "is neither a file nor a folder", "give the path of a picture")
    else:
        raise InputError(name, "no such file", "give the path of a picture, a folder, or a pattern")


def _in_folder(root: str) -> Iterator[tuple[str, str]]:
    """The pictures and videos in a folder and its subfolders, without hidden files and those that are drawn."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            hidden = name.startswith(".") or name.endswith(OWN_OUTPUTS)
            path = os.path.join(folder, name)
            if name.lower().endswith(SUFFIXES + frames.SUFFIXES) and not hidden and os.path.isfile(path):
                yield path, os.path.relpath(path, root)


def _listed(list_file: str) -> Iterable[str]:
    """The lines of a list that are not empty."""
    try:
        text = sys.stdin.read() if list_file == "-" else Path(list_file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fix = "save it as UTF-8 text with the path of a picture in each line"
        raise InputError(f"--list {list_file}", f"cannot be read ({error})", fix) from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]
