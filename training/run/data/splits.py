"""The splits of `--split-by` in a run: made once, and kept in the run folder as splits.json.

Making them again would decode every picture, and other versions of the libraries might give other splits.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable

from keras_frcnn.data.sources.loading import divide_data
from keras_frcnn.data.sources.shared.split_by import Divided
from keras_frcnn.data.sources.spec import DataSpec
from training.engine.distribution import progress_bar
from training.engine.interruption import stop_if_asked

SPLITS_FILE = "splits.json"  # in the run folder


def divided_data(spec: DataSpec, run_folder: pathlib.Path | None = None, show: bool = True) -> Divided | None:
    """All pictures with their splits; None without `--split-by`.

    Args:
      spec: the data.
      run_folder: of a training; if it has splits already, they are used.
      show: whether to show a progress bar.

    Raises:
      InputError: as in `divide_data`.
      KeyboardInterrupt: the user interrupted it.
    """
    if spec.split_by is None:
        return None
    if run_folder is not None and (run_folder / SPLITS_FILE).is_file():
        spec = dataclasses.replace(spec, split_by=str(run_folder / SPLITS_FILE))
    return divide_data(spec, functools.partial(_shown, show))


def _shown(show: bool, hashes: Iterable, count: int) -> Iterable:
    with progress_bar(show, desc="comparing pictures", total=count, leave=False) as bar:
        for one in hashes:
            stop_if_asked()
            bar.update()
            yield one
