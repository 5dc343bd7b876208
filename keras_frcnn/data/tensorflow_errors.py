"""TensorFlow's errors in the words of this project."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import tensorflow as tf

_NAMES = re.compile(r"\{\{.*?\}\}\s*|\s*\[Op:\w+\].*", re.DOTALL)  # of graph nodes and operations
# What stands above the reason if a compiled function failed: where in the code the node was made.
_TRACE = re.compile(
    r"\s*|Graph execution error:|Detected at .*|\s+File \".*|<stack traces unavailable>|\d+ root error\(s\) found\."
)
_NUMBERED = re.compile(r"\s*\(\d+\) [A-Z_]+:")  # the first one of several reasons
_LONGEST = 200  # characters of a reason
_NUMBERS: dict[type[tf.errors.OpError], int] = {
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
    tf.errors.PermissionDeniedError: errno.EACCES,
    tf.errors.NotFoundError: errno.ENOENT,
}


def reason_of(error: tf.errors.OpError) -> str:
    """The first line of the message that gives a reason, without the names of graph nodes and without a full stop."""
    lines = (line for line in _NAMES.sub("", error.message or "").splitlines() if not _TRACE.fullmatch(line))
    return _NUMBERED.sub("", next(lines, type(error).__name__)).strip().rstrip(".")[:_LONGEST]


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn TensorFlow's errors into an OSError that names `path`, as Python's own functions raise it."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(_NUMBERS.get(type(error), errno.EIO), reason_of(error), os.fspath(path)) from error
