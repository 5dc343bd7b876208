"""Durations as people write them: 90s, 45m, 1.5h or 2d."""

import re

from keras_frcnn.facts.settings import SettingError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", re.ASCII)


def seconds_of(text: str, where: str) -> float:
    """The seconds of a duration such as "90s", "45m", "1.5h" or "2d".

    Raises SettingError, which names `where`, for another text and for a duration of 0.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise SettingError(where, "be a duration greater than 0 such as 90s, 45m, 1.5h or 2d", text)
    return float(found[1]) * _SECONDS[found[2]]


def duration_text(seconds: float) -> str:
    """A duration such as "45 s", "12 min" or "1.5 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
