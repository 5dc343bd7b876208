"""Training that is killed again and again ends with the weights of training that was not."""

import io
import os
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_frcnn.facts.files import read_json

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = (
    "--short-side 64 --fc-units 32 --anchor-scales 16 32 --min-size 4 --rois 16 --weights none --deterministic --quiet "
    "--iterations 8 8 8 8 --checkpoint-iterations 2"
).split()
STAGES = {  # what a file that appears in the run folder says is going on
    "step 1": "checkpoints/step1/",
    "proposals of step 1": "proposals/step1/",
    "recall of step 1": "evaluation/step1",
    "step 2": "checkpoints/step2/",
    "detections of step 2": "detections/step2/",
    "step 3": "checkpoints/step3/",
    "features": "features/",
    "proposals of step 3": "proposals/step3/",
    "step 4": "checkpoints/step4/",
    "detections of step 4": "detections/step4/",
    "half a checkpoint": "checkpoints/.*_temp/",
    "half a file": r".*\.partial\.",
    "weights": "weights/",
}
PASSING = ("half a checkpoint", "half a file", "half of the best weights")  # files that are often not seen
VALIDATED = ("--validate-every", "3", "--validate-images", "1", "--metric", "voc", "--keep", "best", "--patience", "2")
STAGES_OF_VALIDATION = {
    "boxes of a validation": "checkpoints/step[24]/validation/",
    "scores": "checkpoints/step./validation.json",
    "best weights": "checkpoints/step./best-",
    "half of the best weights": r"checkpoints/step./\.partial",
    "the last weights beside the best": r"weights/step.\.last",
}


def start(tree, folder, options):
    command = [sys.executable, "-m", "training.alternate", "--data", f"voc:{tree}", "--run", folder, *OPTIONS, *options]
    return subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def files(folder):
    """Every file in the folder, without the number of the process that writes it."""
    found = set()
    for directory, _, names in os.walk(folder):
        found |= {re.sub(r"(\.partial\.|tempstate)\d+", r"\1N", f"{directory}/{name}") for name in names}
    return {path.removeprefix(f"{folder}/") for path in found if "tfevents" not in path}


def watch(process, folder):
    """Yield each file once as it appears, until the process ends."""
    seen = files(folder)
    while process.poll() is None:
        new = files(folder) - seen
        seen |= new
        yield from sorted(new)


def arrays(folder):
    """Every weight that the run left: of each step, and of the finished model."""
    found = {}
    for path in sorted((folder / "weights").glob("*.npz")):
        found |= {f"{path.name}/{key}": value for key, value in np.load(path).items()}
    with zipfile.ZipFile(folder / "model.keras") as archive, archive.open("model.weights.h5") as stored:
        with h5py.File(io.BytesIO(stored.read())) as file:
            file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "stages", "kills"),
    [((), STAGES, 20), (VALIDATED, STAGES_OF_VALIDATION, 8)],
    ids=["twenty kills", "eight kills while it keeps the best weights"],
)
def test_kills_change_no_bit(voc_tree, tmp_path, options, stages, kills):
    whole = tmp_path / "whole"
    process = start(voc_tree, whole, options)
    appeared = list(watch(process, whole))
    assert process.wait() == 0, process.stderr.read()
    assert len(appeared) > 60

    # A kill in each stage, the others anywhere, each when a file appears that has not appeared before it.
    chance = random.Random(0)
    in_stage = {
        name: [path for path in appeared if re.match(pattern, path)] for name, pattern in stages.items()
    }  # fmt: skip
    unseen = [name for name, paths in in_stage.items() if not paths]
    assert not [name for name in unseen if name not in PASSING], unseen
    chosen = {chance.choice(paths) for paths in in_stage.values() if paths}
    rest = [path for path in appeared if path not in chosen]
    chosen |= set(chance.sample(rest, kills - len(chosen)))
    moments = [path for path in appeared if path in chosen]

    killed, places = tmp_path / "killed", []
    order = {path: place for place, path in enumerate(appeared)}
    for moment in moments:
        process = start(voc_tree, killed, options)
        for path in watch(process, killed):
            if order.get(path, -1) >= order[moment]:
                process.kill()
                places.append(path)
                break
        process.wait()
        assert process.returncode in (0, -9), process.stderr.read()
    process = start(voc_tree, killed, options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    print(f"{len(places)} kills, at: {', '.join(places)}")
    assert len(places) >= kills - 3  # a moment may pass while another process starts

    expected, found = arrays(whole), arrays(killed)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    for name in ("step1", "step2", "step3", "step4"):
        validations = [read_json(folder / "logs" / f"{name}.json").get("validation") for folder in (whole, killed)]
        assert validations[0] == validations[1] and (validations[0] is not None) == bool(options)
