"""Numbers in the text of annotation files."""

import math

from keras_frcnn.facts.errors import InputError

MOST_IDS = 10**9  # ids of classes are below this


def read_number(text: str, where: str) -> float:
    """The number that a text states.  Raises InputError, with `where`, if it is not a finite number."""
    number = finite_number(text)
    if number is None:
        raise InputError(where, f"expected a finite number (got {text.strip()!r})", "write a number")
    return number


def finite_number(text: str) -> float | None:
    """The finite number that a text of ASCII characters states; None for anything else.

    Python's `float` also takes `1_000`, and the digits of other scripts.
    """
    text = text.strip()
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def whole_number(text: object, below: int = MOST_IDS) -> int | None:
    """The number that a text of ASCII digits states; None for anything else, and for `below` and larger numbers."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        return None
    # Python refuses to convert thousands of digits.
    number = int(text) if len(text) <= len(str(below)) else below
    return number if number < below else None
