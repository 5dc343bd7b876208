"""The table of data sources: what a `--data` option may name, and which module loads it.

To add a source, write one module with this function, and add one line to `SOURCES`:

    load(argument: str | None, split: str, class_names: Sequence[str] | None, strict: bool) -> Dataset

`argument` is the text after the colon in `--data KIND:ARGUMENT`, or None if there is no colon.  `split` may join
several names with `+`; the function reads them in order and refuses an image id that occurs twice.  It reads its files
into `annotations.AnnotatedPicture`s and calls `annotations.make_dataset`, which checks and repairs them.

This module imports no heavy package, so that a command line can show `DATA_HELP` without delay.
"""

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keras_frcnn.facts.errors import InputError

if TYPE_CHECKING:
    from keras_frcnn.data.example import Dataset


class Source(NamedTuple):
    """One kind of data source."""

    module: str  # full name of the module that has the `load` function
    usage: str  # how to write it after --data
    help: str  # what it is, for --help


SOURCES = {
    "voc": Source("keras_frcnn.data.sources.voc", "voc:PATH", "a PASCAL VOC tree"),
    "synthetic": Source("keras_frcnn.data.sources.drawn", "synthetic[:SEED]", "drawn scenes"),
}
DATA_HELP = " or ".join(f"{source.usage} ({source.help})" for source in SOURCES.values())


def load_dataset(data: str, split: str, class_names: Sequence[str] | None = None, strict: bool = False) -> "Dataset":
    """Load one split of a data source.

    Args:
      data: `KIND` or `KIND:ARGUMENT`, where KIND is in `SOURCES`: the value of a `--data` option.
      split: name of the split.  Several names joined with `+` give one data set, e.g. `train+val`.
      class_names: the classes without background, in the order of their numbers; None takes the source's own classes.
      strict: if True, raise an error for the first fault in an annotation instead of repairing and counting it.

    Returns:
      The data set; its name is `data` and `split`, e.g. `voc:PATH train`.

    Raises:
      InputError: KIND is unknown, the class names are not valid, or the source cannot be read.
    """
    kind, colon, argument = data.partition(":")
    if kind not in SOURCES:
        usages = " or ".join(source.usage for source in SOURCES.values())
        raise InputError(f"--data {data!r}", "unknown kind of data source", f"use {usages}")
    if class_names is not None:
        _check_class_names(class_names)
    source = importlib.import_module(SOURCES[kind].module)
    dataset = source.load(argument if colon else None, split, class_names, strict)
    return dataset._replace(name=f"{data} {split}")


def describe_problems(dataset: "Dataset") -> list[str]:
    """One line for each kind of repaired fault: how often it occurs, and the first three files that have it."""
    lines = []
    for kind, files in dataset.problems.items():
        names = [Path(file).name for file in Counter(files)]  # a Counter keeps each file once, in order
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{dataset.name}: {kind}: {len(files)} in {', '.join(names[:3])}{rest}")
    return lines


def _check_class_names(class_names: Sequence[str]) -> None:
    """Raise InputError unless the class names are a sequence of unique, non-empty strings."""
    where = "class names"
    if isinstance(class_names, str) or not class_names or not all(class_names):
        raise InputError(where, f"expected a list of non-empty names (got {class_names!r})", "name at least one class")
    repeated = [name for name, count in Counter(class_names).items() if count > 1]
    if repeated:
        raise InputError(where, f"{', '.join(sorted(repeated))} occurs more than once", "name each class once")
