"""Training curves, read from the TensorBoard files of a run."""

import pathlib
from typing import NamedTuple

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.util import tensor_util

QUANTITIES = {  # the beginning of a TensorBoard tag -> the name of the quantity
    "losses/": "losses",
    "validation/": "validation",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "images_per_second": "images per second",
}


class Curve(NamedTuple):
    """The R records of one tag, by ascending iteration; each iteration occurs once."""

    iterations: np.ndarray  # (R,) int64, weight updates since the start of the training
    values: np.ndarray  # (R,) float64
    times: np.ndarray  # (R,) float64, seconds since 1970


def read_curves(folder: pathlib.Path) -> dict[str, Curve]:
    """Read the curves of the `QUANTITIES` from the TensorBoard files in `folder`, by tag.

    A training that resumes from a checkpoint repeats some iterations in a new file: the newest record of an iteration
    counts.  Returns an empty dict if the folder does not exist.
    """
    if not folder.is_dir():
        return {}
    accumulator = EventAccumulator(str(folder), size_guidance={TENSORS: 0})  # 0: all records, not a sample of them
    accumulator.Reload()
    # Other tags include pictures, which TensorBoard stores as tensors, too.
    tags = (tag for tag in accumulator.Tags()["tensors"] if tag.startswith(tuple(QUANTITIES)))
    return {tag: _curve(accumulator.Tensors(tag)) for tag in tags}


def _curve(events: list) -> Curve:
    """The curve of TensorBoard's events of one tag."""
    newest = {event.step: event for event in sorted(events, key=lambda event: event.wall_time)}
    events = [newest[iteration] for iteration in sorted(newest)]
    return Curve(
        iterations=np.array([event.step for event in events], np.int64),
        values=np.array([tensor_util.make_ndarray(event.tensor_proto) for event in events], np.float64),
        times=np.array([event.wall_time for event in events], np.float64),
    )


def curves_by_quantity(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Group curves by the name of their quantity.

    The inner keys are the tags without their beginning, such as "rpn_class" for "losses/rpn_class".  Quantities
    without a record are left out.
    """
    grouped = {
        quantity: {tag.removeprefix(prefix): curve for tag, curve in curves.items() if tag.startswith(prefix)}
        for prefix, quantity in QUANTITIES.items()
    }
    return {quantity: lines for quantity, lines in grouped.items() if lines}


def thin(values: np.ndarray, points: int) -> np.ndarray:
    """Shorten (R,) to at most (`points`,): each new value is the mean of neighbours, about equally many each time."""
    parts = np.array_split(np.asarray(values, np.float64), min(len(values), points))
    return np.array([part.mean() for part in parts])
