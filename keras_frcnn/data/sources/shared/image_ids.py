"""Image ids that are safe as file names."""

from pathlib import PurePosixPath


def safe_image_id(name: str) -> str:
    """An image id for a picture of this name: a relative path without `.` and `..`.

    Files of a run are named after the image ids, and must stay in the folder of the run.
    """
    parts = PurePosixPath(name.replace("\0", "")).parts
    return "/".join(part for part in parts if part not in ("/", "//", "..")) or "_"
