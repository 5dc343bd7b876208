"""The cache folder for files that are downloaded or generated once and used by later runs."""

import os
from pathlib import Path


def user_cache_dir() -> Path:
    """Return the folder `keras_frcnn` in the user's cache folder (XDG base directory specification).

    The folder may not exist yet.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a relative path.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "keras_frcnn"
