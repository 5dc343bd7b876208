"""Where pictures and objects come from: the one place that understands a `--data` option."""

from collections import Counter
from pathlib import Path

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.synthetic import load_synthetic
from keras_frcnn.data.sources.voc import load_voc
from keras_frcnn.facts.errors import InputError

# Enough pictures for a VGG16 detector to learn six shapes in a few hundred steps, few enough to be drawn in seconds.
SYNTHETIC_COUNTS = {"train": 200, "val": 60, "test": 60}
SYNTHETIC_SIZE = (240, 320)  # height, width
_POSSIBLE = "give voc:PATH, synthetic or synthetic:SEED"


def load_dataset(data: str, split: str, class_names=None, strict: bool = False) -> Dataset:
    """Read one split of a data source.

    Args:
      data: `voc:PATH`, a PASCAL VOC tree; or `synthetic[:SEED]`, drawn scenes (seed 0 by default) with the splits of
        `SYNTHETIC_COUNTS`, kept in the user's cache folder.
      split: image sets joined with `+`, as `voc.load_voc` takes them.
      class_names: the classes without background, or None to take them from the data.
      strict: make a fault of an annotation an error, instead of repairing and counting it.

    Raises:
      InputError: there is no such source, or it cannot be read.
    """
    kind, _, place = data.partition(":")
    if kind == "voc":
        if not place:
            raise InputError(f"data {data!r}", "has no folder", "give voc:PATH")
        dataset = load_voc(Path(place).expanduser(), split, class_names, strict)
    elif kind == "synthetic":
        seed = _parse_seed(data, place)
        dataset = load_synthetic(split, SYNTHETIC_COUNTS, seed, SYNTHETIC_SIZE, class_names=class_names)
    else:
        raise InputError(f"data {data!r}", "is no source of data", _POSSIBLE)
    return dataset._replace(name=f"{data} {split}")


def describe_problems(dataset: Dataset) -> list[str]:
    """One line for each kind of repaired fault: how often it was met, and the first three files it was met in."""
    lines = []
    for kind, files in dataset.problems.items():
        names = [Path(file).name for file in Counter(files)]  # each file once, in order
        rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{dataset.name}: {kind}: {len(files)} in {', '.join(names[:3])}{rest}")
    return lines


def _parse_seed(data: str, place: str) -> int:
    """The seed of `synthetic` or `synthetic:SEED`."""
    if data == "synthetic":
        return 0
    if not (place.isascii() and place.isdigit()):
        raise InputError(f"data {data!r}", f"{place!r} is no seed", "give synthetic, or synthetic:SEED with SEED >= 0")
    return int(place)
