"""Errors a user can mend, and the one way the command lines show them."""

import contextlib
import sys


class InputError(ValueError):
    """Something given by the user is wrong: one line that names the place, what is wrong with it and the mend."""

    def __init__(self, where, problem: str, mend: str):
        """`where` is the file (with its field, where there is one) or the option; `mend` says what to do."""
        super().__init__(f"{where}: {problem}; {mend}".replace("\n", " "))


@contextlib.contextmanager
def exit_on_input_error():
    """Turn an `InputError` into one line on standard error and exit status 2, without a traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
