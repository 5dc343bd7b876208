"""Counts of pictures and objects of each split."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_frcnn.data.example import Dataset
from keras_frcnn.facts.pages.tables import Table


class SplitCounts(NamedTuple):
    """What one split holds."""

    name: str
    pictures: int
    empty: int  # pictures without objects
    difficult: int  # objects, crowd regions included
    crowd: int
    objects: dict[str, int]  # class name -> objects, the difficult ones included

    @property
    def total(self) -> int:
        return sum(self.objects.values())


def count_split(name: str, dataset: Dataset) -> SplitCounts:
    """Count the pictures and objects of a split."""
    classes = np.concatenate([np.zeros(0, np.int32), *(example.classes for example in dataset.examples)])
    numbers = np.bincount(classes, minlength=len(dataset.class_names) + 1)[1:].tolist()
    return SplitCounts(
        name,
        pictures=len(dataset.examples),
        empty=sum(not len(example.boxes) for example in dataset.examples),
        difficult=sum(int(example.difficult.sum()) for example in dataset.examples),
        crowd=sum(int(example.is_crowd.sum()) for example in dataset.examples),
        objects=dict(zip(dataset.class_names, numbers, strict=True)),
    )


def counts_table(counts: Sequence[SplitCounts]) -> Table:
    """A row for each class and a column for each split; the footer has pictures and special objects."""
    names = sorted({name for split in counts for name in split.objects})
    rows = tuple((name, *(str(split.objects.get(name, 0)) for split in counts)) for name in names)
    totals = {
        "objects": [split.total for split in counts],
        "of them difficult": [split.difficult for split in counts],
        "of them crowd": [split.crowd for split in counts],
        "pictures": [split.pictures for split in counts],
        "of them without objects": [split.empty for split in counts],
    }
    footer = tuple((name, *map(str, numbers)) for name, numbers in totals.items())
    return Table(("class", *(split.name for split in counts)), rows, footer)
