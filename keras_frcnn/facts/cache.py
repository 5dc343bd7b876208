"""Where downloaded and drawn files are kept from one run to the next."""

import os
from pathlib import Path


def user_cache_dir() -> Path:
    """`keras_frcnn` in the user's cache folder (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore a path that is not absolute.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "keras_frcnn"
