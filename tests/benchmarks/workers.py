"""Processes that run what they are told, in environments of their own.

A process gets its settings as one JSON object, answers with one that holds the versions of its packages, and then runs
the function of each {"run": NAME} that it reads, a line each.  After each, it answers with its peak memory in MiB.
"""

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from figures import peak_memory

_HERE = pathlib.Path(__file__).parent


class Worker:
    """A process that runs a function each time it is told to."""

    def __init__(self, python: str, script: str, settings: dict[str, Any]):
        command = [python, str(_HERE / script), json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._read()
        self.memory = 0

    def run(self, name: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"run": name}) + "\n")
        self._process.stdin.flush()
        self.memory = self._read()["memory"]

    def stop(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended with status {self._process.wait()}; its error stands above")
        return json.loads(line)


def serve(versions: Mapping[str, str], run: Callable[[str], object]) -> None:
    """The other side: answer with the versions, then run what is asked for until nothing more comes."""
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        run(json.loads(line)["run"])
        print(json.dumps({"memory": peak_memory()}), flush=True)


def random_blocks(height: int, width: int) -> np.ndarray:
    """A picture (height, width, 3) uint8 of random blocks of 16 x 16 pixels."""
    blocks = np.random.default_rng(0).integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]


def make_environment(name: str, packages: Sequence[str]) -> str:
    """The Python of the environment build/NAME with some packages, which is made if it is not there."""
    folder = _HERE.parents[1] / "build" / name
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.is_file() or ready.read_text().split() != list(packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        ready.write_text("\n".join(packages))
    return str(python)
