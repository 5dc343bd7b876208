"""Errors that the user can fix, and how the command lines show them."""

import contextlib
import os
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """Something that the user passed is wrong: an option, a file or a field of a file.

    The message is one line of three parts: where the problem is, what is wrong, and how to fix it.
    """

    def __init__(self, where: str | os.PathLike, problem: str, fix: str):
        """Build the message.

        Args:
            where: The option, or the file with its field: `--weights vgg.h5`, `config.json, field rpn.min_size`.
            problem: What is wrong.
            fix: What the user can do about it.
        """
        super().__init__(f"{where}: {problem}; {fix}".replace("\n", " "))


@contextlib.contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn an `InputError` into one line on standard error and exit status 2, without a traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
