"""The training loop, on orbit's Controller."""

import contextlib
import io
import logging
import pathlib
from collections.abc import Callable

import orbit

from training.engine.checkpoints import Checkpoints
from training.engine.distribution import is_chief, progress_bar
from training.engine.trainer import Trainer

PICTURE_TIMES = 5  # how often pictures are written to TensorBoard during one training
SUMMARY_INTERVAL = 10  # iterations between two records in TensorBoard and on the progress bar

_log = logging.getLogger(__name__)


def train(
    trainer: Trainer,
    iterations: int,
    checkpoints: Checkpoints,
    summary_folder: pathlib.Path,
    title: str,
    progress: Callable[[int], str],
    write_pictures: Callable[[int], None],
) -> None:
    """Run `trainer` until it has done `iterations` iterations, and save a checkpoint at the end.

    Args:
      trainer: a trainer that has been fed; it may have been restored from a checkpoint.
      iterations: the number of iterations in all, those before a restored checkpoint included.
      checkpoints: called after every few iterations, and at the end also if the training is interrupted.
      summary_folder: where TensorBoard scalars are written.
      title: shown at the progress bar.
      progress: is given the number of iterations just done, and returns how far the whole run is.
      write_pictures: is given the iteration, `PICTURE_TIMES` times in all, and writes to the default summary writer.

    Raises:
      NonFiniteLoss: see `Trainer`.
      KeyboardInterrupt: the user interrupted the training; the last checkpoint holds all iterations done.
    """
    done = int(trainer.iteration.numpy())
    chief = is_chief()
    with progress_bar(total=iterations, initial=done, desc=title, unit="iteration") as bar:

        def after_some_iterations(output: dict[str, float]) -> None:
            nonlocal done
            before, done = done, int(trainer.iteration.numpy())
            shown = {name[7:]: f"{value:.3f}" for name, value in output.items() if name.startswith("losses/")}
            shown |= {"lr": f"{output['learning_rate']:.2g}", "img/s": f"{output['images_per_second']:.2f}"}
            shown["all"] = progress(done - before)
            bar.set_postfix(shown, refresh=False)
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
                controller.train(iterations, checkpoint_at_completion=False)
            finally:
                checkpoints.save()


class _LinesToLog(io.TextIOBase):
    """A text file that logs every line at level DEBUG, so that it goes to train.log but not to the terminal."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            _log.debug("%s", line)
        return len(text)
