"""Ctrl-C and SIGTERM end a run between two mini-batches or two images, never inside one.

Python raises KeyboardInterrupt wherever its main thread happens to be.  The exception can be lost in a finaliser,
TensorFlow can turn it into another error, and a checkpoint could hold half of an iteration's changes.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

_asked = False  # global, because signals belong to the whole process


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Keep the first SIGINT or SIGTERM until `stop_if_asked` is called; a second one raises KeyboardInterrupt at once.

    At the end of the block, a kept signal raises KeyboardInterrupt.  Signals that the process ignores stay ignored.
    Enter it in the main thread.
    """
    global _asked
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def ask(*_: object) -> None:
        global _asked
        _asked = True
        for number in handled:
            signal.signal(number, signal.default_int_handler)
        # print() is not safe in a signal handler.
        os.write(2, b"\nStopping after the current iteration. Press Ctrl-C again to stop now.\n")

    for number in handled:
        signal.signal(number, ask)
    try:
        yield
        stop_if_asked()
    finally:
        for number in handled:
            signal.signal(number, before[number])
        _asked = False


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal was kept.  Call it where no work is half done."""
    if _asked:
        raise KeyboardInterrupt
