"""A short fuzzing of all readers; `make fuzz` is a long one."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INPUTS = 4000


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no package for this platform")
def test_hostile_files_are_read_or_refused_in_one_line():
    command = [sys.executable, str(HERE / "run.py"), "--inputs", str(INPUTS), "--jobs", "2"]
    done = subprocess.run(command, env={"PYTHONPATH": str(HERE.parents[1])}, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
    total = re.search(r"^(\d+) inputs$", done.stdout, re.MULTILINE)
    assert total and int(total[1]) >= INPUTS
