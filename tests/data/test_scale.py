"""A training with 100,000 pictures comes to its first batch in a minute, with less than 2 GB."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "scale.py"


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_one_hundred_thousand_pictures(scale, tmp_path):
    """Processor time, which other work on the machine does not change; it includes the imports."""
    scale.make_set(tmp_path / "set", {"train": 100_000, "val": 5_000}, annotations=7)
    reference = scale.measured("pycocotools", tmp_path / "set")
    laps = scale.measured("start", tmp_path / "set")
    for part, values in (*reference.items(), *laps.items()):
        print(scale.line("", part, values))
    assert sum(values["cpu"] for values in laps.values()) < 60
    assert max(values["gib"] for values in laps.values()) * 2**30 < 2e9
    assert max(values["gib"] for values in laps.values()) < max(values["gib"] for values in reference.values())


@pytest.mark.slow
def test_a_small_set_goes_the_same_way(scale, tmp_path):
    scale.make_set(tmp_path / "set", {"train": 12, "val": 6}, annotations=2)
    laps = scale.measured("start", tmp_path / "set")
    assert {"load train", "fingerprint", "first batch"} <= set(laps)
