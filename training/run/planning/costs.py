"""What training costs on this machine, as measured: seconds as functions of the picture size."""

from typing import NamedTuple


class Line(NamedTuple):
    """Seconds that grow linearly with the size of a picture."""

    fixed: float  # seconds
    per_megapixel: float  # seconds for each million pixels of the resized picture

    def seconds(self, pixels: float) -> float:
        """The seconds for a picture of that many pixels after resizing."""
        return self.fixed + self.per_megapixel * pixels / 1e6


class Costs(NamedTuple):
    """The seconds of each kind of work.

    An iteration is one with a mini-batch of one picture.  Its kinds are named by the parts that it trains, see
    `kind_of`.
    """

    iterations: dict[str, Line]  # by `kind_of`; a kind that the run does not need may be missing
    features: Line  # compute and store the features of a picture
    proposals: Line  # make the proposals of a picture, convolutions included
    detections: Line  # detect the objects of a picture, convolutions included
    stored_proposals: Line  # the same two, from stored features
    stored_detections: Line
    tracing: float  # once for each graph: before a step, and before the proposals, features and detections of a step


def kind_of(trains: tuple[str, ...]) -> str:
    """The kind of an iteration that trains these parts of the model, such as "backbone+rpn" or "head"."""
    return "+".join(part for part in ("backbone", "rpn", "head") if part in trains)
