"""Run an export: print its progress, and turn a failed comparison into one line and an exit status."""

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from export.shared.parity import ParityError


def run_export(options: argparse.Namespace, export: Callable[[argparse.Namespace], None]) -> None:
    """Call `export(options)` and print what it logs to "export", each line after the seconds since the start.

    Raises:
      InputError: for bad input.  The command lines turn it into one line and status 2.
      SystemExit: with status 1 for a ParityError, which is printed as one line on standard error.
    """
    # The comparison needs full float32: GPUs round to TF32 by default, and TFLite runs on the CPU without TF32.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    with _progress_on_stdout():
        try:
            export(options)
        except ParityError as error:
            print(f"error: {options.out}: not written: {error}", file=sys.stderr)
            raise SystemExit(1) from None


class _SecondsFirst(logging.Formatter):
    """A line of progress: seconds since this object was created, then the message."""

    def __init__(self) -> None:
        super().__init__()
        self._started = time.perf_counter()

    def format(self, record: logging.LogRecord) -> str:
        return f"{time.perf_counter() - self._started:6.1f} s  {super().format(record)}"


@contextlib.contextmanager
def _progress_on_stdout() -> Iterator[None]:
    """Print what is logged to "export" and below, for the time of the context."""
    logger, handler = logging.getLogger("export"), logging.StreamHandler(sys.stdout)
    level, propagate = logger.level, logger.propagate
    handler.setFormatter(_SecondsFirst())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a handler of the root logger would print each line a second time
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
