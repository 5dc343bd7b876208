"""Find the picture that an annotation names."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from keras_frcnn.facts.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png")  # of the formats that can be read, in lower case and the order of preference


class PictureFolders:
    """The folders that may hold the pictures of a split, the likeliest first."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Folders that do not exist are left out."""
        self._named = tuple(dict.fromkeys(folders))
        self._folders = tuple(folder for folder in self._named if folder.is_dir())

    def find(self, name: str, where: str) -> Path:
        """The picture of this name.

        Args:
          name: a file name or a relative path.  Of a path that does not exist in the folders, only the last part
            counts: some tools write a whole path of another machine.
          where: the field that names it, for messages.

        Raises:
          InputError: there is no such file.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        inside = not path.is_absolute() and ".." not in path.parts  # no path may lead out of the folders
        for candidate in dict.fromkeys((str(path) if inside else path.name, path.name)):
            for folder in self._folders:
                found = folder / candidate
                if candidate and os.path.isfile(found):  # False also for a name that no file can have
                    return found
        folders = ", ".join(str(folder) for folder in self._folders or self._named[:2])
        fix = "add the picture, or name its folder with --images-root"
        raise InputError(where, f"picture {name!r} not found in {folders}", fix)
