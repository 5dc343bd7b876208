"""Changes the code in small ways, one at a time, and looks whether a test fails: mutation testing, with cosmic-ray.

    python tests/mutation/run.py [--modules boxes anchors ...] [--jobs 2] [--out survivors.txt]

Each change of a module is tried with the tests of that module alone.  Prints the share of the changes that a test
found, and writes those that none found, with the changed lines.  The code is changed in copies, not in this checkout.
cosmic-ray has an environment of its own, which is made in the first run.  The same command resumes what was stopped;
remove build/mutation to begin again.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = "cosmic-ray~=8.7"
WORK = ROOT / "build" / "mutation"
SECONDS = 180  # for the tests of one change
# Changes of these kinds alter no behaviour, or only that of type hints.
LEFT_OUT = ["core/RemoveDecorator", "core/ReplaceBinaryOperator_BitOr_.*"]


class Module(NamedTuple):
    """A module that is changed, and the tests that must notice."""

    path: str
    tests: str


MODULES = {
    "boxes": Module("keras_frcnn/geometry/boxes.py", "tests/geometry/test_boxes.py"),
    "anchors": Module("keras_frcnn/geometry/anchors.py", "tests/geometry/test_anchors.py"),
    "targets": Module(
        "keras_frcnn/rules/targets.py",
        "tests/rules/test_matching.py tests/rules/test_sampling.py tests/rules/test_targets_rpn.py "
        "tests/rules/test_targets_roi.py",
    ),
    "proposals": Module("keras_frcnn/rules/proposals.py", "tests/rules/test_proposals.py"),
    "detections": Module("keras_frcnn/rules/detections.py", "tests/rules/test_detections.py"),
    "suppression": Module(
        "keras_frcnn/rules/suppression.py", "tests/rules/test_suppression.py tests/rules/test_proposals.py"
    ),
    "losses": Module("keras_frcnn/rules/losses.py", "tests/rules/test_losses.py"),
    "voc": Module("keras_frcnn/evaluation/metrics/voc_ap.py", "tests/evaluation/metrics/test_voc_ap.py"),
    "coco": Module("keras_frcnn/evaluation/metrics/coco_ap.py", "tests/evaluation/metrics/test_coco_ap.py"),
    "checkpoints": Module("training/engine/checkpoints.py", "tests/training/engine/test_checkpoints.py"),
}


class Score(NamedTuple):
    """What came of one module."""

    name: str
    changes: int
    survivors: list[str]  # the changed lines of each


def tool() -> pathlib.Path:
    """The folder with the programs of cosmic-ray; installs it if necessary."""
    programs = WORK / "venv" / "bin"
    if not (programs / "cosmic-ray").is_file():
        venv.create(WORK / "venv", with_pip=True)
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", TOOL], check=True)
    return programs


def copy_of_checkout(folder: pathlib.Path) -> None:
    """The files that git tracks, in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def try_module(programs: pathlib.Path, name: str) -> Score:
    """All changes of one module."""
    module, folder, session = MODULES[name], WORK / name, str(WORK / f"{name}.sqlite")
    copy_of_checkout(folder)
    python = pathlib.Path(sys.executable)  # not resolved: the environment of the project
    test = f"{python} -m pytest -x -q -p no:cacheprovider -m 'not slow' {module.tests}"
    settings = {
        "module-path": module.path, "timeout": SECONDS, "excluded-modules": [], "test-command": test,
        "distributor": {"name": "local"}, "filters": {"operators-filter": {"exclude-operators": LEFT_OUT}},
    }  # fmt: skip
    (folder / "mutation.toml").write_text(as_toml("cosmic-ray", settings))

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(programs / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True,
            env={"PATH": f"{python.parent}:/usr/bin:/bin", "PYTHONPATH": str(folder), "HOME": str(pathlib.Path.home())},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    if not pathlib.Path(session).exists():
        run("cosmic-ray", "init", "mutation.toml", session)
        run("cr-filter-operators", session, "mutation.toml")
    run("cosmic-ray", "baseline", "mutation.toml")
    run("cosmic-ray", "exec", "mutation.toml", session)
    changes, survivors = 0, []
    for line in run("cosmic-ray", "dump", session).splitlines():
        _, result = json.loads(line)
        if result is None or result["worker_outcome"] != "normal":
            continue
        changes += 1
        if result["test_outcome"] == "survived":
            survivors.append(result["diff"])
    return Score(name, changes, survivors)


def as_toml(section: str, values: dict) -> str:
    lines = [f"[{section}]"]
    nested = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in nested]
    return "\n".join(lines) + "\n\n" + "".join(as_toml(f"{section}.{key}", value) for key, value in nested.items())


def main() -> None:
    parser = argparse.ArgumentParser(description="Look whether the tests notice small changes of the code.")
    parser.add_argument("--modules", nargs="+", choices=list(MODULES), default=list(MODULES), metavar="MODULE")
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time (default: 1)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=WORK / "survivors.txt", help="the changes that no test found"
    )
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    programs = tool()
    with ThreadPoolExecutor(options.jobs) as pool:
        scores = list(pool.map(lambda name: try_module(programs, name), options.modules))
    for score in scores:
        found = score.changes - len(score.survivors)
        print(f"{score.name:12}{score.changes:6} changes{found / max(score.changes, 1):8.1%} found")
    changes, survivors = sum(score.changes for score in scores), sum(len(score.survivors) for score in scores)
    print(f"{'all':12}{changes:6} changes{1 - survivors / max(changes, 1):8.1%} found")
    options.out.write_text("\n".join(f"# {score.name}\n{diff}" for score in scores for diff in score.survivors))
    print(f"survivors: {options.out}")


if __name__ == "__main__":
    main()
