"""Ctrl-C and SIGTERM end a run between two mini-batches or two pictures, never inside one.

Python raises KeyboardInterrupt wherever its main thread happens to be.  There it can be lost, in a finaliser or a
garbage collection, or come out of TensorFlow as another error, and it can leave half a step's work in a checkpoint.
"""

import contextlib
import os
import signal

_asked = False  # signals are the whole process's, and so is this


@contextlib.contextmanager
def deferred():
    """Keep a SIGINT or SIGTERM for `stop_if_asked`, or for the end; a second one raises KeyboardInterrupt at once.

    A signal that the process ignores is ignored still.  To be entered in the main thread.
    """
    global _asked
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def ask(*_):
        global _asked
        _asked = True
        for number in heard:
            signal.signal(number, signal.default_int_handler)
        os.write(2, b"\nto end where nothing is half done; once more: at once\n")

    for number in heard:
        signal.signal(number, ask)
    try:
        yield
        stop_if_asked()
    finally:
        for number in heard:
            signal.signal(number, before[number])
        _asked = False


def stop_if_asked():
    """Raise KeyboardInterrupt where a signal was kept.  To be called where nothing is half done."""
    if _asked:
        raise KeyboardInterrupt
