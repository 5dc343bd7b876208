"""What training costs on this machine, as measured: seconds as functions of the picture size."""

from typing import Any, NamedTuple


class Line(NamedTuple):
    """Seconds that grow linearly with the size of a picture."""

    fixed: float  # seconds
    per_megapixel: float  # seconds for each million pixels of the resized picture

    def seconds(self, pixels: float) -> float:
        """The seconds for a picture of that many pixels after resizing."""
        return self.fixed + self.per_megapixel * pixels / 1e6

    def plus(self, other: "Line", factor: float = 1.0) -> "Line":
        """The sum of this line and `factor` times the other, without negative parts."""
        fixed, slope = (a + factor * b for a, b in zip(self, other, strict=True))
        return Line(max(0.0, fixed), max(0.0, slope))


class Costs(NamedTuple):
    """The seconds of each kind of work.  An iteration is one with a mini-batch of one picture."""

    iterations: dict[str, Line]  # by `kind_of`
    features: Line  # read a picture and compute its features
    proposals: Line  # make the proposals of a picture from its features
    detections: Line  # detect the objects of a picture from its features
    tracing: float  # of one graph, before its first call


class Machine(NamedTuple):
    """What a plan must know about the machine."""

    costs: Costs
    memory: int  # bytes that a training may use: of the machine, or of its smallest GPU
    free_disk: int  # bytes, where the run folder is
    replicas: int = 1  # devices that train together


def shared(costs: Costs, replicas: int) -> Costs:
    """The costs of a picture where several replicas each work on one at the same time."""

    def share(line: Line) -> Line:
        return Line(line.fixed / replicas, line.per_megapixel / replicas)

    return Costs(
        iterations={kind: share(line) for kind, line in costs.iterations.items()},
        features=share(costs.features),
        proposals=share(costs.proposals),
        detections=share(costs.detections),
        tracing=costs.tracing,
    )


def kind_of(trains: tuple[str, ...]) -> str:
    """The kind of an iteration that trains these parts of the model, such as "backbone+rpn" or "head"."""
    return "+".join(part for part in ("backbone", "rpn", "head") if part in trains)


def costs_to_json(costs: Costs) -> dict[str, Any]:
    """Plain dicts, lists and numbers, ready for JSON."""
    values = {name: list(value) if isinstance(value, Line) else value for name, value in costs._asdict().items()}
    return values | {"iterations": {kind: list(line) for kind, line in costs.iterations.items()}}
