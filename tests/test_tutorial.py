"""The tutorial of the documentation runs from its first command to its last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    """With a few pictures and iterations, and random weights."""
    folder = tmp_path / "tutorial"
    options = ["--pictures", "24", "--iterations", "2 2 2 2", "--weights", "none"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "tutorial.py"), str(folder), *options],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n$ python -m ") == 6
    splits = json.loads((folder / "run" / "splits.json").read_text())["pictures"]
    assert sorted(splits) == ["test", "train", "val"] and sum(map(len, splits.values())) == 24
    assert (folder / "check" / "data-doctor.html").is_file() and (folder / "run" / "report.html").is_file()
    results = json.loads((folder / "results" / "evaluation.json").read_text())
    assert results["metric"] == "coco" and results["coco"]["images"] == len(splits["test"])
    assert [path.name for path in (folder / "found" / "pictures").iterdir()] == ["train_000000.detections.png"]
