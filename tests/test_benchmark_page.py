"""The page of benchmarks is made from the figures that the benchmarks write."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
MACHINE = {"processor": "P", "cores": 2, "vectors": ["avx2"], "versions": {"tensorflow": "2.20.0"}}


def load(name):
    """A module of tests/benchmarks, which is no package."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def modules(monkeypatch):
    for name in ("rounds", "figures", "page"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield [load(name) for name in ("rounds", "figures", "page")]
    for name in ("rounds", "figures", "page"):
        sys.modules.pop(name)


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians(modules):
    _, figures, _ = modules
    found = figures.ratio("a", [1.0, 4.0, 3.0], "b", [2.0, 4.0, 1.0])  # ratios 0.5, 1, 3; medians 3 and 2
    assert found == ("a", 3.0, "b", 2.0, 1.0, 0.5, 3.0, 3)


def test_the_page_shows_what_was_written(modules, tmp_path, monkeypatch):
    _, figures, page = modules
    written = [figures.ratio("head", [0.5, 0.5], "convolutions", [2.0, 2.5]), figures.Memory("training", 4321)]
    written.append(figures.Agreement("a runtime", "TensorFlow", 30, 29, 2.5e-6, 1e-5))
    written.append(figures.Size("int8", 131.06))
    path = tmp_path / "inference.json"
    monkeypatch.setattr(sys, "argv", ["tests/benchmarks/inference.py", "--rounds", "2", "--out", str(path)])
    monkeypatch.setattr(figures, "machine", lambda: MACHINE)
    figures.write(path, written, {"another": "1.0"})
    record = json.loads(path.read_text())
    text = page.page({"inference": record})
    assert "| head | convolutions | 0.225 | 0.200 to 0.250 | 0.500 | 2.250 | 2 |" in text
    assert (
        "| training | 4321 |" in text
        and "| int8 | 131.1 |" in text
        and "P, 2 cores, avx2; tensorflow 2.20.0, another 1.0." in text
    )
    assert "| a runtime | TensorFlow | 29 of 30 | 2.5e-06 of the side | 1.0e-05 |" in text
    assert "```sh\npython tests/benchmarks/inference.py --rounds 2\n```" in text
    drawn = page.plots({"inference": record})
    assert list(drawn) == ["stages.svg"] and drawn["stages.svg"].startswith(b"<svg") and "(images/stages.svg)" in text


def test_growth_has_a_plot_for_each_axis(modules):
    _, figures, page = modules
    ratios = [figures.ratio(name, [1.0], "common", [2.0])._asdict() for name in ("size 240", "size 480", "batch 2")]
    record = {"command": "c", "machine": MACHINE, "figures": ratios}
    assert sorted(page.plots({"growth": record})) == ["growth-batch.svg", "growth-size.svg"]
    assert "![growth-batch](images/growth-batch.svg)" in page.page({"growth": record})
