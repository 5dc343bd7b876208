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
    return round(float(found[1]) * _SECONDS[found[2]], 6)  # 1.1h are 3960 seconds


def duration_text(seconds: float) -> str:
    """A duration as `seconds_of` reads it, exact to a millionth of a second: "90s", "12m" or "2h"."""
    seconds = round(seconds, 6)
    unit, size = next(((unit, size) for unit, size in reversed(_SECONDS.items()) if seconds % size == 0), ("s", 1.0))
    return f"{seconds / size:.6f}".rstrip("0").rstrip(".") + unit
