"""The place that an export writes to."""

import pathlib

from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import make_writable


def check_free(path: pathlib.Path, force: bool) -> None:
    """Check that an export may be written to `path`, and create the parent folder.

    Raises InputError if `path` exists and `force` is not set, or if the parent folder cannot be written.
    """
    if path.exists() and not force:
        raise InputError(path, "already exists", "give another --out, or --force to replace it")
    make_writable(path.parent, path.parent, "give an --out in a folder that you can write to")
