"""Write a data set in any of the formats, whole or not at all."""

import importlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.writers.losses import Loss
from keras_frcnn.data.writers.naming import safe_splits
from keras_frcnn.data.writers.table import WRITERS
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.files import refuse_content

SPLITS = "split names that are not safe file names: changed"


def write_dataset(kind: str, datasets: Mapping[str, Dataset], out: Path, link: bool = False) -> list[Loss]:
    """Write the splits of a data set.  The folder appears only when it is complete.

    Args:
      kind: one of `WRITERS`.
      datasets: the splits by their names.
      out: the new folder; it may exist if it is empty.
      link: make hard links to the pictures instead of copies, where the file system can.

    Returns:
      What the format cannot hold.

    Raises:
      InputError: the folder is not empty or cannot be written, a picture is in two splits or cannot be read, or the
        format cannot hold a class name.
    """
    out = out.absolute()
    refuse_content(out)
    _check_splits(datasets)
    module = importlib.import_module(WRITERS[kind].module)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            folder = Path(scratch) / "data"
            folder.mkdir()
            losses = module.write(datasets, folder, link)
            os.rename(folder, out)
    except OSError as error:
        raise _failed(error, out, datasets) from None
    renamed = {split: name for split, name in safe_splits(datasets).items() if split != name}
    if renamed:
        names = ", ".join(f"{split} is {name}" for split, name in renamed.items())
        losses.append(Loss(f"{SPLITS} ({names})", len(renamed)))
    return losses


def _failed(error: OSError, out: Path, datasets: Mapping[str, Dataset]) -> InputError:
    """The error for the user: a picture that cannot be read any more, or the folder that cannot be written."""
    pictures = {example.image_path for dataset in datasets.values() for example in dataset.examples}
    # A copy that fails while it is written, e.g. because the disk is full, names both files.
    if error.filename in pictures and error.filename2 is None:
        problem = f"cannot be read ({error.strerror})"
        return InputError(error.filename, problem, "restore the picture, or remove its annotation")
    fix = "free some space, or use a folder that you can write to"
    return InputError(out, f"cannot be written ({error.strerror})", fix)


def _check_splits(datasets: Mapping[str, Dataset]) -> None:
    """Raise InputError if a picture is in two splits: the copies would look like different pictures."""
    seen: dict[str, str] = {}
    for split, dataset in datasets.items():
        for example in dataset.examples:
            other = seen.setdefault(example.image_path, split)
            if other != split:
                problem = f"the picture {example.image_path} is also in the split {other}"
                raise InputError(f"split {split}", problem, "choose splits without common pictures with --split")
