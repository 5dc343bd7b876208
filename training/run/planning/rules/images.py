"""The size of the resized pictures: as large as the smallest objects need, and no larger than time and memory allow."""

import math
from typing import NamedTuple

import numpy as np

from training.run.planning.choice import Draft
from training.run.planning.costs import Costs
from training.run.planning.data_facts import COMMON, DataTable, mean_pixels, resize_factors
from training.run.planning.rules.memory import memory_bytes

OBJECT_PIXELS = 32.0  # a small object should be as large: two cells of the feature map in each direction
SMALL = 10  # percentile of the sizes of a class that must reach it
SMALLEST_SIDE, LARGEST_SIDE = 200, 1200
MOST_ENLARGED = 2.5  # times the pictures' own size; more shows nothing new
MEMORY_SHARE = 0.6  # of the machine's memory that a training may need

_GRID = 20  # sides are multiples of it
_LEAST_ASPECT, _MOST_ASPECT = 5 / 3, 10.0  # of the long side to the short side; the paper has 1000 / 600


class Need(NamedTuple):
    """The short side that the objects of one class ask for."""

    side: float
    class_name: str
    size: float  # of its small objects, in pixels of the picture before resizing


def short_side_for_objects(table: DataTable) -> Need:
    """The short side at which the small objects of each class have `OBJECT_PIXELS`.

    Classes with fewer than `COMMON` objects count only if all classes are so rare.  Without objects, it is 0.
    """
    counts = np.bincount(table.classes, minlength=len(table.class_names))
    classes = np.flatnonzero(counts >= COMMON) if (counts >= COMMON).any() else np.flatnonzero(counts)
    relative = table.sizes / table.picture_sizes[table.pictures, 0]
    needs = [Need(0.0, "", 0.0)]
    for index in classes.tolist():
        own = table.classes == index
        share, size = (float(np.percentile(values[own], SMALL)) for values in (relative, table.sizes))
        needs.append(Need(OBJECT_PIXELS / share, table.class_names[index], size))
    return max(needs)


def long_side(short: float, aspect: float) -> int:
    """The long side for a short side: nearly all pictures keep their short side."""
    return math.ceil(short * min(_MOST_ASPECT, max(_LEAST_ASPECT, aspect)) / _GRID) * _GRID


def choose_sides(
    draft: Draft,
    table: DataTable,
    costs: Costs,
    seconds: float,
    kind: str,
    memory: int,
    images: int,
    wanted: float | None = None,
) -> Draft:
    """Choose the short and the long side.

    Args:
      draft: the plan so far.
      table: the training data.
      costs: of this machine.
      seconds: for the iterations of the longest step, which trains the parts of `kind`, divided by the images of one.
      kind: see `costs.kind_of`.
      memory: bytes of the machine.
      images: in the largest mini-batch of a step.
      wanted: a short side that is wanted instead of that of `short_side_for_objects`.
    """
    facts = table.facts
    need = short_side_for_objects(table)
    most = min(LARGEST_SIDE, MOST_ENLARGED * facts.short_side)
    target = min(most, max(SMALLEST_SIDE, wanted or need.side))
    reason = f"the small objects of {need.class_name} ({need.size:.0f} pixels) get {OBJECT_PIXELS:.0f} pixels"
    if wanted is not None:
        reason = "so that anchors can reach the small objects"
    elif need.side > most:
        reason = f"the most that is sensible for pictures of {facts.short_side:.0f} pixels; small objects stay small"
    elif need.side < SMALLEST_SIDE:
        reason = "the smallest size; all objects are large enough"
    side = math.ceil(target / _GRID) * _GRID
    needed = fewest_iterations(facts.pictures)
    while side > SMALLEST_SIDE:
        long = long_side(side, facts.aspect)
        pixels = mean_pixels(table, side, long)
        possible = seconds / costs.iterations[kind].seconds(pixels)
        if not _fits(draft, table, side, long, memory, images):
            reason = "the largest size that fits into the memory"
        elif wanted is None and possible < needed:
            reason = f"the largest size with {needed} iterations of the longest step in the time"
        else:
            break
        side -= _GRID
    side = draft.options.detector.image.short_side if "detector.image.short_side" in draft.given else side
    draft = draft.choose("detector.image.short_side", side, reason)
    long = long_side(side, facts.aspect)
    return draft.choose(
        "detector.image.long_side", long, f"99 of 100 pictures are at most {facts.aspect:.2f} times as long as wide"
    )


def fewest_iterations(pictures: int) -> int:
    """The iterations that the longest step needs before larger pictures pay: a few passes over the pictures."""
    return min(5000, max(700, 4 * pictures))


def _fits(draft: Draft, table: DataTable, short: float, long: float, memory: int, images: int) -> bool:
    largest = float((table.picture_sizes.prod(axis=1) * resize_factors(table, short, long) ** 2).max())
    needed = memory_bytes(draft.options.detector, largest, images, table.facts.most_objects)
    return needed <= MEMORY_SHARE * memory
