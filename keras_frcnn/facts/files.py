"""Files and folders that are there whole or not at all, and the JSON in them."""

import json
import os
import pathlib
import shutil

PARTIAL = "partial."  # how names of files begin that are being written


def write_atomically(path, write):
    """Call `write(temporary path)` and move the file or folder it makes to `path`: never half of it under that name.

    What is at `path` already is replaced, and stays where that fails.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays: writers choose their format by it.
    temporary, replaced = (path.with_name(f".{PARTIAL}{os.getpid()}{kind}.{path.name}") for kind in ("", ".old"))
    try:
        write(temporary)
        if path.is_dir():  # only an empty folder can be replaced in one move
            os.replace(path, replaced)
        try:
            os.replace(temporary, path)
        except OSError:
            if replaced.exists():
                os.replace(replaced, path)
            raise
    finally:
        _remove(temporary)
        _remove(replaced)


def remove_halves(folder):
    """Remove what `write_atomically` was writing when it was killed."""
    for path in list(pathlib.Path(folder).rglob(f".{PARTIAL}*")):
        _remove(path)


def read_json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def write_json(path, value):
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def _remove(path: pathlib.Path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
