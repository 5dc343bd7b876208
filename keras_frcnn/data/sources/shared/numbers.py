"""Numbers in the text of annotation files."""

import math

from keras_frcnn.facts.errors import InputError

MOST_IDS = 10**9  # ids of classes are below this


def read_number(text: str, where: str) -> float:
    """The number that a text states.  Raises InputError, with `where`, if it is not a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(where, f"expected a finite number (got {text.strip()!r})", "write a number")
    return number


def whole_number(text: object, below: int = MOST_IDS) -> int | None:
    """The number that a text of ASCII digits states; None for anything else, and for `below` and larger numbers."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        return None
    # Python refuses to convert thousands of digits.
    number = int(text) if len(text) <= len(str(below)) else below
    return number if number < below else None
