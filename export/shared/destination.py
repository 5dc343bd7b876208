"""The place that an export writes to."""

import pathlib

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable


def check_own(path: pathlib.Path, mark: str, what: str) -> None:
    """Raise InputError if the folder that `--force` would replace lacks the file `mark`, and so is not `what`."""
    if not (path / mark).is_file():
        raise InputError(path, f"is not {what}, so it is not replaced", "give another --out")


def check_free(path: pathlib.Path, force: bool) -> None:
    """Check that an export may be written to `path`, and create the parent folder.

    Raises InputError if `path` exists and `force` is not set, or if the parent folder cannot be written.
    """
    if path.exists() and not force:
        raise InputError(path, "already exists", "give another --out, or --force to replace it")
    make_writable(path.parent, path.parent, "give an --out in a folder that you can write to")
