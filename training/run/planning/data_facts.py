"""What a plan must know about the training data: the sizes of pictures and objects, and how many there are.

Axes: P pictures, N objects that are not difficult, all classes together.
"""

from typing import Any, NamedTuple

import numpy as np

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.matching.overlap import pairwise_iou

OVERLAPS = (0.3, 0.4, 0.5)  # IoUs of neighbours that are counted
COMMON = 10  # a class with fewer objects does not decide the size of the pictures


class DataFacts(NamedTuple):
    """The facts of a training set.  Sizes are square roots of areas, in pixels of the picture before resizing."""

    pictures: int
    empty_pictures: int  # without objects that are not difficult
    objects: int
    class_counts: dict[str, int]
    short_side: float  # of the pictures, median
    long_side: float
    aspect: float  # long side / short side, 99th percentile
    object_size: tuple[float, float, float]  # 5th, 50th and 95th percentile; NaN without objects
    most_objects: int  # in a picture, 99th percentile
    overlap_shares: tuple[float, ...]  # objects with a neighbour of their class that overlaps by each of OVERLAPS


class DataTable(NamedTuple):
    """The pictures and objects of a training set as arrays."""

    facts: DataFacts
    picture_sizes: np.ndarray  # (P, 2) float64, short and long side
    sizes: np.ndarray  # (N,) float64, square roots of areas
    sides: np.ndarray  # (N,) float64, the shorter side
    classes: np.ndarray  # (N,) int
    pictures: np.ndarray  # (N,) int, the picture of each object
    class_names: tuple[str, ...]


def data_table(dataset: Dataset) -> DataTable:
    """Gather the facts of a training set, which may have no objects; it must have a picture."""
    kept = [~example.difficult for example in dataset.examples]
    counts = np.array([mask.sum() for mask in kept])
    boxes = np.concatenate([np.zeros((0, 4)), *(e.boxes[m] for e, m in zip(dataset.examples, kept, strict=True))])
    classes = np.concatenate([np.zeros(0, int), *(e.classes[m] for e, m in zip(dataset.examples, kept, strict=True))])
    classes = classes.astype(int) - 1
    picture_sizes = np.sort([(example.height, example.width) for example in dataset.examples], axis=1).astype(float)
    heights_widths = boxes[:, 2:] - boxes[:, :2]
    sizes = np.sqrt(heights_widths.prod(axis=1))
    facts = DataFacts(
        pictures=len(counts),
        empty_pictures=int((counts == 0).sum()),
        objects=len(boxes),
        class_counts={name: int((classes == index).sum()) for index, name in enumerate(dataset.class_names)},
        short_side=float(np.median(picture_sizes[:, 0])),
        long_side=float(np.median(picture_sizes[:, 1])),
        aspect=float(np.percentile(picture_sizes[:, 1] / picture_sizes[:, 0], 99)),
        object_size=tuple(np.percentile(sizes, (5, 50, 95))) if len(sizes) else (float("nan"),) * 3,
        most_objects=int(np.ceil(np.percentile(counts, 99))),
        overlap_shares=_overlap_shares(boxes, classes, counts),
    )
    pictures = np.repeat(np.arange(len(counts)), counts)
    return DataTable(facts, picture_sizes, sizes, heights_widths.min(axis=1), classes, pictures, dataset.class_names)


def _overlap_shares(boxes: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """The share of the objects that another one of their class and picture overlaps, for each of OVERLAPS."""
    highest, start = np.zeros(len(boxes)), 0
    for count in counts.tolist():
        part = slice(start, start + count)
        overlaps = pairwise_iou(boxes[part], boxes[part])
        overlaps[classes[part][:, None] != classes[part]] = 0.0
        np.fill_diagonal(overlaps, 0.0)
        if count:
            highest[part] = overlaps.max(axis=1)
        start += count
    return tuple(float((highest > least).mean()) if len(boxes) else 0.0 for least in OVERLAPS)


def resize_factors(table: DataTable, short_side: float, long_side: float) -> np.ndarray:
    """By how much each picture is resized: (P,)."""
    return np.minimum(short_side / table.picture_sizes[:, 0], long_side / table.picture_sizes[:, 1])


def mean_pixels(table: DataTable, short_side: float, long_side: float) -> float:
    """The mean number of pixels of the resized pictures."""
    factors = resize_factors(table, short_side, long_side)
    return float((table.picture_sizes.prod(axis=1) * factors**2).mean())


def facts_to_json(facts: DataFacts) -> dict[str, Any]:
    """Plain dicts, lists and numbers, ready for JSON."""
    values = facts._asdict()
    values["object_size"] = list(facts.object_size) if facts.objects else None
    return values | {"overlap_shares": list(facts.overlap_shares)}
