"""A plan from end to end through the command lines: made, followed, resumed, and as a file that is edited."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_frcnn.data.sources.synthetic.drawn import write_synthetic

ROOT = Path(__file__).resolve().parents[1]
# What keeps the runs short; everything else is planned.
SMALL = "--weights none --short-side 64 --long-side 107 --fc-units 32 --anchor-scales 16 32 --rpn-channels 32".split()
# Trains on two devices of one CPU, as a machine with two GPUs does.
ON_TWO_DEVICES = """
import sys

import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from training.engine import distribution

distribution.local_strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from training.alternate import main

main(sys.argv[1:])
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tree"
    write_synthetic(folder, {"train": 12, "val": 4}, seed=0, size=(64, 96))
    return folder


def run(module, *words):
    return python("-m", module, *words)


def python(*words):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def read(path):
    return json.loads(Path(path).read_text())


def test_one_flag_trains_a_detector_and_the_same_command_finds_it_finished(tree, tmp_path):
    words = ("--data", f"voc:{tree}", "--run", tmp_path / "run", *SMALL, "--plan", "auto", "--budget", "240s")
    first = run("training.alternate", *words)
    assert first.returncode == 0, first.stderr[-2000:]
    assert "--precision" in first.stdout and "times as fast in bfloat16 as in float32 here" in first.stdout
    assert "of 04:00 left" in first.stderr.replace("\r", "\n") and "of 4.0 minutes" in first.stdout
    settled = read(tmp_path / "run" / "budget.json")
    assert settled["budget"] == 240.0 and list(settled["steps"]) == ["step1", "step2", "step3", "step4"]
    for name, step in settled["steps"].items():
        assert step["iterations"] >= 10 and step["seconds"] > 0
        assert read(tmp_path / "run" / "logs" / f"{name}.json")["iterations"] == step["iterations"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "What was chosen, and why" in report and "planned iterations" in report
    weights = (tmp_path / "run" / "model.keras").stat().st_mtime_ns
    again = run("training.alternate", *words)
    assert again.returncode == 0, again.stderr[-2000:]
    assert (tmp_path / "run" / "model.keras").stat().st_mtime_ns == weights
    assert "measuring this machine" not in again.stderr  # the plan is that of the run folder
    other = run("training.alternate", *words[:-1], "160s")
    assert other.returncode == 2 and "this run was started with a budget of 4m;" in other.stderr


def test_a_plan_file_can_be_edited_and_followed(tree, tmp_path):
    plan = tmp_path / "plan.json"
    words = ("--data", f"voc:{tree}", *SMALL)
    made = run("training.plan", *words, "--joint", "--budget", "5m", "--out", plan)
    assert made.returncode == 0, made.stderr[-2000:]
    assert "--iterations" in made.stdout and f"python -m training.joint --config {plan}" in made.stdout
    values = read(plan)
    assert values["plan"]["forecast"]["budget"] == 300.0
    del values["options"]["budget"]
    values["options"]["iterations"] = 12
    plan.write_text(json.dumps(values))
    done = run("training.joint", "--config", plan, *words, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    assert read(tmp_path / "run" / "logs" / "joint.json")["iterations"] == 12
    assert "What was chosen, and why" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "budget.json").exists()
    nowhere = run("training.plan", *words, "--budget", "5m", "--out", plan / "inside" / "plan.json")
    assert nowhere.returncode == 2 and "cannot be written" in nowhere.stderr
    short = run("training.plan", *words, "--budget", "3s", "--out", plan)
    assert (
        short.returncode == 2
        and "a budget of 3s is too short for this data on this machine; give at least" in short.stderr
    )


def test_two_devices_share_the_work_of_a_plan(tree, tmp_path):
    words = ["--data", f"voc:{tree}", "--run", tmp_path / "run", *SMALL, "--plan", "auto", "--budget", "240s"]
    done = python("-c", ON_TWO_DEVICES, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "(2 replicas x 1 x 1 accumulated)" in done.stdout
    for name, step in read(tmp_path / "run" / "budget.json")["steps"].items():
        # A mini-batch of the plan is one of one replica.
        assert read(tmp_path / "run" / "logs" / f"{name}.json")["iterations"] == -(-step["iterations"] // 2)
