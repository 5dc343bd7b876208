"""The splits of `--split-by` in a run: made once, and kept in the run folder as splits.json.

Making them again would decode every picture, and other versions of the libraries might give other splits.
"""

import dataclasses
import pathlib
from collections.abc import Iterable

from keras_frcnn.data.sources.loading import divide_data
from keras_frcnn.data.sources.shared.split_by import Divided
from keras_frcnn.data.sources.spec import DataSpec
from training.engine.distribution import progress_bar

SPLITS_FILE = "splits.json"  # in the run folder


def divided_data(spec: DataSpec, run_folder: pathlib.Path | None = None) -> Divided | None:
    """All pictures with their splits; None without `--split-by`.

    Args:
      spec: the data.
      run_folder: of a training; if it has splits already, they are used.

    Raises:
      InputError: as in `divide_data`.
    """
    if spec.split_by is None:
        return None
    if run_folder is not None and (run_folder / SPLITS_FILE).is_file():
        spec = dataclasses.replace(spec, split_by=str(run_folder / SPLITS_FILE))
    return divide_data(spec, _shown)


def _shown(hashes: Iterable, count: int) -> Iterable:
    with progress_bar(desc="comparing pictures", total=count, leave=False) as bar:
        for one in hashes:
            bar.update()
            yield one
