"""docs/benchmarks.md and its plots are those of the figures in tests/benchmarks/record."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def maker():
    """The module page.py."""
    spec = importlib.util.spec_from_file_location("benchmark_page", BENCHMARKS / "page.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def records():
    return {path.stem: json.loads(path.read_text()) for path in (BENCHMARKS / "record").glob("*.json")}


def test_the_page_is_made_from_the_records(maker, records):
    assert records.keys() == maker.SECTIONS.keys()
    assert maker.page(records) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_the_page_shows_every_plot(maker, records):
    text, drawn = maker.page(records), maker.plots(records)
    assert len(drawn) == 5
    for name, content in drawn.items():
        assert content.startswith(b"<svg") and f"(images/{name})" in text
        assert (DOCS / "images" / name).is_file(), name


def test_rows_show_the_figures_of_a_record(maker):
    machine = {"processor": "P", "cores": 2, "vectors": ["avx2"], "versions": {"tensorflow": "2.20.0"}}
    ratio = {"name": "head", "seconds": 0.5, "beside": "convolutions", "beside_seconds": 2.0, "ratio": 0.25,
             "lowest": 0.2, "highest": 0.3, "rounds": 3}  # fmt: skip
    peak = {"name": "training", "mebibytes": 4321}
    command = "python tests/benchmarks/inference.py --rounds 3"
    text = maker.page({"inference": {"command": command, "machine": machine, "figures": [ratio, peak]}})
    assert "| head | convolutions | 0.250 | 0.200 to 0.300 | 0.500 | 2.000 | 3 |" in text
    assert "| training | 4321 |" in text and command in text and "P, 2 cores, avx2; tensorflow 2.20.0." in text
