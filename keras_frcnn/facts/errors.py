"""Errors that the user can fix, and how the command lines show them."""

import contextlib
import os
import sys
from collections.abc import Iterator

OWN_PACKAGES = ("keras_frcnn", "training", "export")  # a missing module of these is a bug, not a missing package


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
def exit_on_input_error(extra: str | None = None) -> Iterator[None]:
    """Turn an error that the user can fix into one line on standard error and exit status 2, without a traceback.

    These errors are `InputError` and, with `extra`, a package that is not installed.

    Args:
        extra: The extra of setup.cfg that installs what the command imports: `train` or `export`.  None for a command
            that needs no extra; a missing package then keeps its traceback.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if extra is None or package in OWN_PACKAGES:
            raise
        install = f"pip install 'keras-frcnn[{extra}]'"
        print(f"error: {package} is not installed; this command needs more packages: {install}", file=sys.stderr)
        raise SystemExit(2) from None
