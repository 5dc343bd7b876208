"""How a training command runs: its imports, its errors and its exit status.

This module imports nothing heavy, so that `--help` stays fast.
"""

import os
from collections.abc import Callable
from typing import Any

from keras_frcnn.facts.errors import exit_on_input_error
from keras_frcnn.facts.logs import quiet_tensorflow
from training.engine.interruption import deferred
from training.run.options.reading import Request


def exit_with(request: Request, load_command: Callable[[], Callable[[Any], int]]) -> None:
    """Import and run a training command, `load_command()(request)`, and exit with its status.

    A bad input prints one line and exits with status 2.  Ctrl-C and SIGTERM, which preempted machines get, print one
    line and exit with status 130.
    """
    if request.options.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    quiet_tensorflow()
    interrupted = "Finished work is saved; run the same command again to resume."
    with exit_on_input_error(extra="train", interrupted=interrupted), deferred():
        command = load_command()
        if request.options.deterministic:
            import tensorflow as tf  # heavy; only here, so that --help stays fast

            tf.config.experimental.enable_op_determinism()
        status = command(request)
    raise SystemExit(status)
