"""The training loop, on orbit's Controller."""

import contextlib
import io
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Protocol

import orbit

from training.engine.checkpoints import Checkpoints
from training.engine.distribution import is_chief, progress_bar
from training.engine.trainer import Trainer

PICTURE_TIMES = 5  # how often pictures are written to TensorBoard during one training
SUMMARY_INTERVAL = 10  # iterations between two records in TensorBoard and on the progress bar

_log = logging.getLogger(__name__)


class Settlement(Protocol):
    """Changes the number of iterations of a training while it runs, so that it fits into a time."""

    def next_settlement(self) -> int | None:
        """The number of iterations done after which to call `settle`; None: never again."""

    def settle(self, done: int, seconds_per_iteration: float) -> int:
        """The new number of iterations in all.  The speed is the measured one; 0 if there was no time to measure it."""


class Validation(Protocol):
    """Measures a model while it trains."""

    def is_due(self, done: int, is_last: bool) -> bool:
        """Whether to measure after `done` iterations."""

    def next_after(self, done: int) -> int:
        """The iteration of the next measurement."""

    def run(self, done: int) -> None:
        """Measure.  A checkpoint was saved before."""

    @property
    def is_over(self) -> bool:
        """Whether the training ends early."""

    def shown(self) -> dict[str, str]:
        """The newest measurement, for the progress bar."""


def train(
    trainer: Trainer,
    iterations: int,
    checkpoints: Checkpoints,
    summary_folder: pathlib.Path,
    title: str,
    progress: Callable[[int], str],
    write_pictures: Callable[[int], None],
    settlement: Settlement | None = None,
    validation: Validation | None = None,
) -> None:
    """Run `trainer` until it has done `iterations` iterations, and save a checkpoint at the end.

    Args:
      trainer: a trainer that has been fed; it may have been restored from a checkpoint.
      iterations: the number of iterations in all, with those before a restored checkpoint.
      checkpoints: called after every few iterations, and at the end also if the training is interrupted.
      summary_folder: where TensorBoard scalars are written.
      title: shown at the progress bar.
      progress: is given the number of iterations just done, and returns how far the whole run is.
      write_pictures: is given the iteration, `PICTURE_TIMES` times in all, and writes to the default summary writer.
      settlement: may change `iterations` while the training runs.
      validation: measures the model from time to time, at the end as well, and may end the training early.

    Raises:
      NonFiniteLoss: see `Trainer`.
      KeyboardInterrupt: the user interrupted the training; the last checkpoint holds all iterations done.
    """
    done = int(trainer.iteration.numpy())
    speed, chief = _Speed(), is_chief()
    with progress_bar(total=iterations, initial=done, desc=title, unit="iteration") as bar:

        def after_some_iterations(output: dict[str, float]) -> None:
            nonlocal done
            before, done = done, int(trainer.iteration.numpy())
            speed.note(done)
            measured = {} if validation is None else validation.shown()
            bar.set_postfix(_shown(output) | measured | {"all": progress(done - before)}, refresh=False)
            bar.update(done - before)
            if chief and done * PICTURE_TIMES // iterations > before * PICTURE_TIMES // iterations:
                with controller.summary_manager.summary_writer().as_default():
                    write_pictures(done)
            checkpoints.save_if_due()

        controller = orbit.Controller(
            global_step=trainer.iteration,
            trainer=trainer,
            train_actions=[after_some_iterations],
            steps_per_loop=min(SUMMARY_INTERVAL, checkpoints.iterations, iterations),
            summary_dir=str(summary_folder) if chief else None,
        )
        with contextlib.redirect_stdout(_LinesToLog()):  # orbit prints the losses of every few iterations
            try:
                while not _is_over(trainer, validation, checkpoints, controller, done >= iterations):
                    stop, settles = _next_stop(done, iterations, settlement, validation)
                    controller.train(stop, checkpoint_at_completion=False)
                    if settlement is not None and settles:
                        bar.total = iterations = settlement.settle(done, speed.seconds_per_iteration())
            finally:
                checkpoints.save()


def _shown(output: dict[str, float]) -> dict[str, str]:
    """The numbers of the progress bar."""
    losses = {name[7:]: f"{value:.3f}" for name, value in output.items() if name.startswith("losses/")}
    return losses | {"lr": f"{output['learning_rate']:.2g}", "img/s": f"{output['images_per_second']:.2f}"}


def _next_stop(
    done: int, iterations: int, settlement: Settlement | None, validation: Validation | None
) -> tuple[int, bool]:
    """The number of iterations to train to, and whether the whole number is settled there."""
    settled = None if settlement is None else settlement.next_settlement()
    settled = None if settled is None or settled >= iterations else max(settled, done)
    validated = iterations if validation is None else validation.next_after(done)
    stop = min(iterations, validated, iterations if settled is None else settled)
    return stop, stop == settled


def _is_over(
    trainer: Trainer,
    validation: Validation | None,
    checkpoints: Checkpoints,
    controller: orbit.Controller,
    all_done: bool,
) -> bool:
    """Validate if it is time to; returns whether the training has ended."""
    done = int(trainer.iteration.numpy())
    if validation is not None and validation.is_due(done, all_done):
        checkpoints.save()
        with controller.summary_manager.summary_writer().as_default() if is_chief() else contextlib.nullcontext():
            with trainer.averaged():  # the result of the training is the average, too
                validation.run(done)
    return all_done or (validation is not None and validation.is_over)


class _Speed:
    """Measures the iterations of this process, without the first few, which trace the graphs."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None

    def note(self, done: int) -> None:
        """Note the time after `done` iterations."""
        self._last = (done, time.monotonic())
        self._first = self._first or self._last

    def seconds_per_iteration(self) -> float:
        """The mean; 0 if there is nothing to measure yet."""
        if self._first is None or self._last is None or self._first[0] == self._last[0]:
            return 0.0
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])


class _LinesToLog(io.TextIOBase):
    """A text file that logs every line at level DEBUG, so that it goes to train.log but not to the terminal."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            _log.debug("%s", line)
        return len(text)
