"""Makes calls of the C library fail, one after the other, in a training of all four steps and in both exports.

    python tests/faults/harness.py [--points 12] [--jobs 2] [--out faults.json]

First, everything runs without a fault and its calls are listed: each call and file is a target.  Then each target fails
in three ways: with an error (a full disk, or an unreadable file), with a disk that stays full, and with a kill.

A training must end with one line and no traceback, or do without what failed.  The next target is tried on what is left
of the same run folder, so each start also resumes from the fault before.  After the last target, the training runs to
its end, and all its weights and figures must be those of the training without a fault, bit for bit.

An export must end with one line and leave no file, or the export that was there before.

Without --points, all targets are tried, which takes hours.  Prints a table; the exit status is 1 if anything failed.
"""

import argparse
import collections
import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import h5py
import numpy as np

from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPTIONS = (
    "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none --deterministic --quiet "
    "--iterations 2 2 2 2 --checkpoint-iterations 1"
).split()
EXPORTS = {"export.saved_model": ("1", []), "export.tflite": ("model.tflite", ["--size", "64x96"])}
NEEDS_ROOM = ("create", "write", "flush", "rename", "mkdir", "fsync")
ACTIONS = ("error", "full disk", "kill")
NOT_REACHED = 128
EXPECTED = {2, 74}  # exit statuses of an error that the user can fix


class Target(NamedTuple):
    """One call on one file, the first of its kind in a process."""

    call: str
    path: str  # under the root, without the numbers of processes


class Trial(NamedTuple):
    """One fault and what came of it."""

    command: str
    action: str
    target: Target
    outcome: str  # "refused", "did without", "killed", "not reached", or "FAILED: why"


class Server:
    """Starts command lines with faults; see server.py."""

    def __init__(self, library: pathlib.Path, folder: pathlib.Path):
        self._folder = folder
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(
        self,
        module: str,
        arguments: Iterable[Any],
        root: pathlib.Path,
        fault: tuple[str, str, int, bool] | None = None,
        log: pathlib.Path | None = None,
    ) -> tuple[int, str]:
        """The exit status and what was printed."""
        output = self._folder / "output"
        request = {
            "module": module,
            "arguments": [str(argument) for argument in arguments],
            "root": str(root),
            "output": str(output),
            "log": None if log is None else str(log),
            "fault": fault,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return status, output.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def build(folder: pathlib.Path) -> pathlib.Path:
    """Compile shim.c."""
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    return library


def targets_in(log: pathlib.Path) -> list[Target]:
    """The calls of a log, each once, in order.

    Removing a temporary file that is gone already is left out: it cannot fail on a real disk.
    """
    lines = dict.fromkeys(log.read_text(encoding="utf-8").splitlines())
    targets = [Target(*line.split(" ", 1)) for line in lines]
    return [target for target in targets if not (target.call == "unlink" and ".partial." in target.path)]


def chosen(targets: Sequence[Target], points: int | None, shift: float) -> list[Target]:
    """`points` of the targets at equal distances; the first one is `shift` of a distance from the start."""
    if points is None or points >= len(targets):
        return list(targets)
    distance = len(targets) / points
    return [targets[int((number + shift) * distance)] for number in range(points)]


def fault_of(target: Target, action: str) -> tuple[str, str, int, bool]:
    number = errno.ENOSPC if target.call in NEEDS_ROOM else errno.EIO
    return target.call, target.path, 0 if action == "kill" else number, action == "full disk"


def judge(status: int, output: str) -> str:
    """The outcome of a process with a fault, as in `Trial`."""
    last = output.strip().splitlines()[-1:] or [""]
    if status == -9:
        return "killed"
    if "Traceback" in output or "Logging error" in output:
        return f"FAILED: traceback, {last[0]}"
    if status == NOT_REACHED:
        return "not reached"
    if status == 0:
        return "did without"
    if status in EXPECTED and "error: " in output:
        return "refused"
    return f"FAILED: exit status {status}, {last[0]}"


# Training.


def training_arguments(tree: pathlib.Path, run: pathlib.Path) -> list[Any]:
    return ["--data", f"voc:{tree}", "--run", run, *OPTIONS]


def training_trials(
    server: Server, tree: pathlib.Path, folder: pathlib.Path, reference: str, targets: Sequence[Target], action: str
) -> Iterator[Trial]:
    """Try the targets one after the other on one run folder; then finish the run and compare it."""
    run, before = folder / "run", folder / "before"
    arguments = training_arguments(tree, run)

    def trial(target: Target, outcome: str) -> Trial:
        return Trial("training.alternate", action, target, outcome)

    for target in targets:
        shutil.rmtree(before, ignore_errors=True)
        if run.exists():
            shutil.copytree(run, before)
        outcome = judge(*server.run("training.alternate", arguments, run, fault_of(target, action)))
        if outcome == "did without" and digest(run) != reference:
            outcome = "FAILED: another result"
        if outcome not in ("refused", "killed"):  # the run has ended: take it back to where it was
            shutil.rmtree(run, ignore_errors=True)
            if before.exists():
                shutil.copytree(before, run)
        yield trial(target, outcome)
    status, output = server.run("training.alternate", arguments, run)
    if status or "Traceback" in output:
        yield trial(Target("end", "the run"), f"FAILED: exit status {status}, {output.strip()[-300:]}")
    elif digest(run) != reference:
        yield trial(Target("end", "the run"), "FAILED: another result")


def digest(run: pathlib.Path) -> str:
    """A digest of all weights, boxes and figures that a run leaves."""
    found: dict[str, Any] = {}
    for path in sorted((run / "weights").glob("*.npz")):
        found |= {f"{path.name}/{key}": value for key, value in np.load(path).items()}
    with zipfile.ZipFile(run / "model.keras") as archive, archive.open("model.weights.h5") as stored:
        with h5py.File(io.BytesIO(stored.read())) as file:
            file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    for part in ("proposals", "detections"):
        for path in sorted((run / part).rglob("*.tfrecord")):
            found[str(path.relative_to(run))] = np.frombuffer(path.read_bytes(), np.uint8)
    for path in sorted((run / "evaluation").glob("*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        values["training"].pop("minutes")
        values.pop("table")
        found[path.name] = np.frombuffer(json.dumps(values, sort_keys=True).encode(), np.uint8)
    digest = hashlib.sha256()
    for name, value in sorted(found.items()):
        digest.update(name.encode() + str(value.shape).encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


# Exports.


def export_trials(
    server: Server, model: pathlib.Path, folder: pathlib.Path, command: str, targets: Sequence[Target], action: str
) -> Iterator[Trial]:
    """Try the targets, each with and without an export that is there already."""
    name, options = EXPORTS[command]
    whole = folder / "whole"
    whole.mkdir(parents=True)
    status, output = server.run(command, ["--model", model, "--out", whole / name, *options], whole)
    assert status == 0, output
    before = contents(whole)
    for number, target in enumerate(targets):
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        replaces = number % 2 == 0
        if replaces:
            shutil.copytree(whole, out)
        else:
            out.mkdir()
        force = ["--force"] if replaces else []
        arguments = ["--model", model, "--out", out / name, *options, *force]
        outcome = judge(*server.run(command, arguments, out, fault_of(target, action)))
        left = {path: value for path, value in contents(out).items() if ".partial." not in path}
        allowed = [before] if outcome == "did without" else [before if replaces else {}, before]
        if not outcome.startswith("FAILED") and left not in allowed:
            outcome = f"FAILED: left {len(left)} files"
        yield Trial(command, action, target, outcome)


def contents(folder: pathlib.Path) -> dict[str, int]:
    """The files in a folder with their sizes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


# All together.


def try_all(folder: pathlib.Path, points: int | None, jobs: int) -> tuple[dict[str, int], list[Trial]]:
    """The number of targets of each command, and all trials."""
    library, tree = build(folder), folder / "tree"
    write_synthetic(tree, {"train": 4, "val": 2}, seed=0, size=(64, 96))
    first = folder / "first"
    first.mkdir()
    server = Server(library, first)
    run = first / "run"
    status, output = server.run("training.alternate", training_arguments(tree, run), run, log=first / "training.log")
    assert status == 0, output
    reference, found = digest(run), {"training.alternate": targets_in(first / "training.log")}
    for command, (name, options) in EXPORTS.items():
        out, log = first / command, first / f"{command}.log"
        out.mkdir()
        status, output = server.run(
            command, ["--model", run, "--out", out / name, *options], out, log=log
        )  # fmt: skip
        assert status == 0, output
        found[command] = targets_in(log)
    server.close()

    def one(job: tuple[str, str]) -> list[Trial]:
        command, action = job
        own = folder / f"{command}.{action}"
        own.mkdir()
        server = Server(library, own)
        most = points if points is None or command == "training.alternate" else max(1, points // 4)
        targets = chosen(found[command], most, ACTIONS.index(action) / len(ACTIONS))
        if command == "training.alternate":
            trials = training_trials(server, tree, own, reference, targets, action)
        else:
            trials = export_trials(server, run, own, command, targets, action)
        done = []
        for trial in trials:
            print(f"{trial.command}, {action}: {trial.target.call} {trial.target.path}: {trial.outcome}", flush=True)
            done.append(trial)
        server.close()
        return done

    every = [(command, action) for action in ACTIONS for command in found]
    with ThreadPoolExecutor(jobs) as pool:
        trials = [trial for trials in pool.map(one, every) for trial in trials]
    return {command: len(targets) for command, targets in found.items()}, trials


def main() -> None:
    parser = argparse.ArgumentParser(description="Make calls of the C library fail, one after the other.")
    parser.add_argument("--points", type=int, help="targets of the training for each kind of fault (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file with all trials")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        targets, trials = try_all(pathlib.Path(folder), options.points, options.jobs)
    if options.out:
        values = {"targets": targets, "trials": [{**trial._asdict(), "target": list(trial.target)} for trial in trials]}
        options.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print("\n" + ", ".join(f"{count} targets in {command}" for command, count in targets.items()))
    counts = collections.Counter((trial.command, trial.action, trial.outcome.partition(":")[0]) for trial in trials)
    for (command, action, outcome), count in sorted(counts.items()):
        print(f"{command:20} {action:10} {outcome:12} {count:5}")
    failed = [trial for trial in trials if trial.outcome.startswith("FAILED")]
    for trial in failed:
        print(f"{trial.command}, {trial.action} of {trial.target.call} {trial.target.path}: {trial.outcome}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
