"""Errors that the user can fix, and how the command lines show them."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence

MOST_NAMES = 3  # files, pictures or splits that a message names
UNWRITABLE = 74  # the exit status EX_IOERR: a file or a device failed
INTERRUPTED = 130  # what a shell shows for a program that SIGINT ended
CLOSED_PIPE = 141  # what a shell shows for a program that SIGPIPE ended
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


def first_names(names: Sequence[str]) -> str:
    """The first few names for a message, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


@contextlib.contextmanager
def exit_on_input_error(extra: str | None = None, interrupted: str = "") -> Iterator[None]:
    """Turn an error that the user can fix into one line on standard error and an exit status, without a traceback.

    The status is 2 for an `InputError`, for a name that is too long, and, with `extra`, for a package that is not
    installed.  It is UNWRITABLE for a full disk and other errors of files and devices, and INTERRUPTED after Ctrl-C.
    If the reader of standard output is gone, as with `| head`, there is no line.

    Args:
        extra: The extra of setup.cfg that installs what the command imports.  None for a command that needs no extra; a
            missing package then keeps its traceback.
        interrupted: What the line after Ctrl-C says in addition.
    """
    try:
        yield
        sys.stdout.flush()  # here, so that a closed pipe is noticed
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        raise SystemExit(CLOSED_PIPE) from None
    except KeyboardInterrupt:
        print(f"\nInterrupted. {interrupted}".rstrip(), file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print(f"error: {error.filename}: {error.strerror}; give a shorter name", file=sys.stderr)
            raise SystemExit(2) from None
        fix = "make room, or correct the place or its permissions, and run the same command again"
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}; {fix}", file=sys.stderr)
        raise SystemExit(UNWRITABLE) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if extra is None or package in OWN_PACKAGES:
            raise
        install = f"pip install 'keras-frcnn[{extra}]'"
        print(f"error: {package} is not installed; this command needs more packages: {install}", file=sys.stderr)
        raise SystemExit(2) from None
