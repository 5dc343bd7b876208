"""The figures of a benchmark: ratios of run times, printed and written as JSON.

A file has the form {"command": ..., "machine": {...}, "figures": [{...}, ...]}.  `page.py` makes the
page of benchmarks from such files.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import Any, NamedTuple

from rounds import median_ratio

PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert")


class Ratio(NamedTuple):
    """How long one thing takes as a multiple of another.  Both ran in turn, in the same rounds."""

    name: str
    seconds: float  # of the first, median
    beside: str  # the name of the second
    beside_seconds: float  # median
    ratio: float  # median of the rounds' ratios
    lowest: float  # of the rounds' ratios
    highest: float
    rounds: int

    def __str__(self) -> str:
        spread = f"{self.lowest:.3f} to {self.highest:.3f} in {self.rounds} rounds"
        times = f"{self.seconds:.3f} s, {self.beside} {self.beside_seconds:.3f} s"
        return f"{self.name}: {self.ratio:.3f} of {self.beside} ({spread}; {times})"


class Memory(NamedTuple):
    """The most memory that a process has needed so far."""

    name: str
    mebibytes: int

    def __str__(self) -> str:
        return f"{self.name}: {self.mebibytes} MiB"


class Size(NamedTuple):
    """The size of a file."""

    name: str
    file_mebibytes: float

    def __str__(self) -> str:
        return f"{self.name}: a file of {self.file_mebibytes:.1f} MiB"


class Agreement(NamedTuple):
    """How the detections of a program agree with those of another one, in one picture."""

    name: str
    beside: str  # the name of the other
    detections: int  # of the other
    matched: int
    box_difference: float  # the largest, as a share of the picture's side
    score_difference: float

    def __str__(self) -> str:
        differences = f"boxes to {self.box_difference:.1e} of the side, scores to {self.score_difference:.1e}"
        return f"{self.name}: {self.matched} of {self.detections} detections of {self.beside}, {differences}"


def ratio(name: str, seconds: Sequence[float], beside: str, beside_seconds: Sequence[float]) -> Ratio:
    """The ratio of two lists of seconds, one of each round, as `rounds.interleaved_seconds` gives them."""
    ratios = [a / b for a, b in zip(seconds, beside_seconds, strict=True)]
    medians = statistics.median(seconds), statistics.median(beside_seconds)
    middle = median_ratio(seconds, beside_seconds)
    return Ratio(name, medians[0], beside, medians[1], middle, min(ratios), max(ratios), len(ratios))


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the option `--out`."""
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE.json", help="write the figures to this file")


def write(
    path: pathlib.Path | None, figures: Sequence[NamedTuple], versions: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write the figures to the file of `--out`, if there is one, with the command and the machine.

    `versions` are those of packages in other environments.
    """
    if path is None:
        return
    program, *words = sys.argv
    words = [word for before, word in itertools.pairwise(["", *words]) if "--out" not in (before, word.split("=")[0])]
    command = ["python", f"tests/benchmarks/{pathlib.Path(program).name}", *words]
    facts = machine()
    content = {
        "command": " ".join(command),
        "machine": {**facts, "versions": {**facts["versions"], **versions}},
        "figures": [figure._asdict() for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def peak_memory() -> int:
    """The most memory of this process so far, in MiB.

    VmHWM is that of this program (Linux).  The peak in getrusage includes that of the process that started it.
    """
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    facts = dict(line.split(":", 1) for line in status.splitlines())
    return int(facts["VmHWM"].split()[0]) // 1024


def machine() -> dict[str, Any]:
    """The processor, its number of cores, what it says of vector units, and the versions of packages."""
    facts = dict(
        line.split(":", 1)
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        if ":" in line
    )
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = facts.get("flags", "").split()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": facts.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "vectors": [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags],
        "python": platform.python_version(),
        "versions": versions,
    }
