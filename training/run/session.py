"""What surrounds the work of a run: its folder, the lock on it, and the log.

Every module of training/ logs under its own name.  The handlers are set up here, once: the terminal shows all messages
but those of level DEBUG, and logs/train.log keeps all of them.  Only the chief worker shows and keeps messages.
"""

import contextlib
import logging
import pathlib
import sys
from collections.abc import Iterator

from keras_frcnn.data.stream.pipeline import naming_undecodable
from training.engine.distribution import is_chief
from training.run.options.declared import TrainingOptions
from training.run.start import Run, RunData, locked, open_run

_ROOM = "training"  # the parent of all loggers of this program


@contextlib.contextmanager
def open_session(options: TrainingOptions, data: RunData) -> Iterator[Run]:
    """Open the run folder for this process alone, and keep the log.  Enter it in the scope of the strategy.

    Raises InputError if the folder belongs to other options or data, if another process uses it, or if an image of the
    data sets cannot be decoded.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminal_messages())
        run = open_run(options, data)
        stack.enter_context(locked(run.folder))
        if is_chief():
            stack.enter_context(_handling([_file_handler(run.folder / "logs" / "train.log")]))
        stack.enter_context(naming_undecodable(run.train_set, run.val_set))
        yield run


def terminal_messages() -> contextlib.AbstractContextManager[None]:
    """Show messages on the terminal alone, before there is a run folder."""
    return _handling(_terminal_handlers() if is_chief() else [logging.NullHandler()])


def _terminal_handlers() -> list[logging.Handler]:
    """Messages go to standard output, warnings and errors to standard error."""
    output, errors = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    output.setLevel(logging.INFO)
    output.addFilter(lambda record: record.levelno < logging.WARNING)
    errors.setLevel(logging.WARNING)
    return [output, errors]


class _LogFile(logging.FileHandler):
    """A log file that says once, in one line, if it cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (a name of logging)
        print(f"warning: {self.baseFilename} cannot be written ({sys.exc_info()[1]})", file=sys.stderr)
        self.addFilter(lambda record: False)


def _file_handler(path: pathlib.Path) -> logging.Handler:
    path.parent.mkdir(exist_ok=True)
    return _LogFile(path, encoding="utf-8", errors="backslashreplace", delay=True)


@contextlib.contextmanager
def _handling(handlers: list[logging.Handler]) -> Iterator[None]:
    """Add handlers to the logger of this program while the block runs."""
    logger = logging.getLogger(_ROOM)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # a handler of the root logger would print each line a second time
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
