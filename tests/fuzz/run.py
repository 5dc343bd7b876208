"""Fuzzes all readers of files and answers that may come from strangers; see targets.py.

    python tests/fuzz/run.py [--inputs 20000] [--targets "VOC XML" ...] [--jobs 2] [--seed 1]

The inputs are divided among the targets.  A target fails if a reader raises anything but one line of bad input, takes
longer than SECONDS for one input, or more than MEMORY beyond what the libraries take.  Prints a table; the exit status
is 1 if a target failed, and its input is in the folder that is named.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from targets import make_targets

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 2
MEMORY = 1000  # MiB, beside LIBRARIES
LIBRARIES = 900  # MiB that a process takes before it reads anything


class Outcome(NamedTuple):
    """What came of one target."""

    name: str
    inputs: int
    slowest: int  # seconds
    memory: int  # MiB, the libraries included
    seconds: float
    failure: str  # the end of the output; empty if nothing failed


def fuzz(name: str, inputs: int, folder: pathlib.Path, seed: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    folder.mkdir(parents=True)
    flags = [
        f"-runs={inputs}", f"-seed={seed}", f"-timeout={SECONDS}", f"-rss_limit_mb={LIBRARIES + MEMORY}",
        "-print_final_stats=1", "-max_len=65536",
    ]  # fmt: skip
    begun = time.monotonic()
    command = [sys.executable, str(HERE / "one.py"), name, str(folder), *flags]
    path = os.pathsep.join((str(HERE.parents[1]), str(HERE)))
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, errors="replace"
    )

    def figure(pattern: str) -> int:
        found = re.search(pattern, done.stderr)
        return int(found[1]) if found else 0

    return Outcome(
        name,
        figure(r"stat::number_of_executed_units:\s*(\d+)"),
        figure(r"stat::slowest_unit_time_sec:\s*(\d+)"),
        figure(r"stat::peak_rss_mb:\s*(\d+)"),
        time.monotonic() - begun,
        (done.stdout + done.stderr)[-3000:] if done.returncode else "",
    )


def main() -> None:
    names = list(make_targets())
    parser = argparse.ArgumentParser(description="Fuzz the readers of files that may come from strangers.")
    parser.add_argument("--inputs", type=int, default=20000, help="of all targets together (default: 20000)")
    parser.add_argument("--targets", nargs="+", choices=names, default=names, metavar="TARGET", help=", ".join(names))
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer (default: 1)")
    options = parser.parse_args()
    each = -(-options.inputs // len(options.targets))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))  # stays if a target fails

    def one(name: str) -> Outcome:
        return fuzz(name, each, folder / name.replace(" ", "-"), options.seed)

    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(one, options.targets))
    print(f"{'target':22}{'inputs':>8}{'inputs/s':>10}{'slowest s':>11}{'MiB':>7}")
    for outcome in outcomes:
        speed = outcome.inputs / outcome.seconds
        print(f"{outcome.name:22}{outcome.inputs:8}{speed:10.0f}{outcome.slowest:11}{outcome.memory:7}")
    for outcome in outcomes:
        if outcome.failure:
            print(f"\n{outcome.name} FAILED (inputs in {folder / outcome.name.replace(' ', '-')}):\n{outcome.failure}")
    print(f"\n{sum(outcome.inputs for outcome in outcomes)} inputs")
    if any(outcome.failure for outcome in outcomes):
        raise SystemExit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
