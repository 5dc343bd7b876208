"""Counts of the information that a format cannot hold."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.sources.shared.annotations import EXIF_IGNORED
from keras_frcnn.data.sources.shared.picture_header import read_picture_header

RENAMED = "image ids that are not safe file names: changed"
EXIF_POLICY = "pictures with an EXIF orientation that the boxes do not refer to: read with --exif ignore"

_FIRST_SWAP = 5  # EXIF orientations from here on turn height into width


class Loss(NamedTuple):
    """One kind of loss."""

    what: str  # what is lost and what became of it, with a colon between the two
    times: int  # how often


class Losses:
    """Counts losses by kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, what: str, times: int = 1) -> None:
        if times:
            self._counts[what] += times

    def listed(self) -> list[Loss]:
        """The kinds of losses that occurred, in the order of their first occurrence."""
        return [Loss(what, count) for what, count in self._counts.items()]


def count_exif(datasets: Iterable[Dataset], states_size: bool, losses: Losses) -> None:
    """Count pictures whose orientation a reader of the new files would apply, although the boxes do not refer to it.

    A reader decides from the stated sizes of pictures whose orientation swaps height and width, see
    `annotations.exif_policy`.  Without them, it applies orientations.

    Args:
      datasets: the splits.
      states_size: the format states the sizes of pictures.
      losses: counts the pictures.
    """
    for dataset in datasets:
        ignored = dataset.problems.get(EXIF_IGNORED, ())
        headers = (read_picture_header(Path(file)) for file in ignored) if states_size else ()
        if not any(one.orientation >= _FIRST_SWAP and one.height != one.width for one in headers):
            losses.count(EXIF_POLICY, len(ignored))
