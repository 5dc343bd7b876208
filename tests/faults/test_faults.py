"""A sample of the faults of harness.py; `make faults` tries them all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
POINTS = 4  # targets of the training, for each kind of fault


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="needs Linux and a C compiler")
def test_faults_end_in_one_line_and_what_is_left_resumes(tmp_path):
    report = tmp_path / "faults.json"
    command = [sys.executable, HERE / "harness.py", "--points", str(POINTS), "--jobs", "2", "--out", report]
    done = subprocess.run(
        [str(part) for part in command],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parents[1])}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found = json.loads(report.read_text())
    assert found["targets"]["training.alternate"] > 200 and len(found["targets"]) == 3
    outcomes = [trial["outcome"] for trial in found["trials"] if trial["command"] == "training.alternate"]
    assert len(outcomes) == 3 * POINTS
    assert outcomes.count("killed") >= POINTS - 1 and outcomes.count("refused") >= POINTS
    for command in ("export.saved_model", "export.tflite"):
        assert {trial["outcome"] for trial in found["trials"] if trial["command"] == command} >= {"killed", "refused"}
