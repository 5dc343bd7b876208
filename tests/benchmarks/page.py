"""Make docs/benchmarks.md and its plots from the figures in tests/benchmarks/record.

    python tests/benchmarks/page.py

`make bench` measures the figures anew and then runs this.
"""

import argparse
import json
import pathlib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_frcnn.facts.pages.plots import COLOURS, WIDE, svg_plot

HERE = pathlib.Path(__file__).parent
RECORD, DOCS = HERE / "record", HERE.parents[1] / "docs"

INTRODUCTION = """# Benchmarks

`make bench` measures all figures of this page anew, and makes the page from them. It takes about an hour on 2 CPU
cores. Each figure is a ratio of two run times. Both ran in turn in the same rounds, so that other load on the machine
slows both alike. "Median" is the median of the rounds' ratios, and "range" their lowest and highest. Seconds are
medians, and only hold for the machine above the table.
"""


class Section(NamedTuple):
    """What the page says of one record."""

    title: str
    text: str


SECTIONS = {
    "inference": Section(
        "Detection by stage",
        "The whole detector is the SavedModel with `serving_default`. It is compared with the convolutions of VGG16 "
        "alone, and so is each stage.",
    ),
    "inference_beside_torchvision": Section(
        "Detection beside torchvision",
        "torchvision's Faster R-CNN with the same network, anchors and numbers of proposals, in its faster memory "
        "layout.",
    ),
    "inference_beside_torchvision_bfloat16": Section(
        "Detection beside torchvision, bfloat16", "The SavedModel in bfloat16, and torchvision with autocast."
    ),
    "training_beside_torchvision": Section(
        "Joint training beside torchvision", "An iteration: one picture, 256 anchors, 128 regions, the update included."
    ),
    "training_beside_torchvision_bfloat16": Section(
        "Joint training beside torchvision, bfloat16", "`mixed_bfloat16`, and torchvision with autocast."
    ),
    "iteration": Section(
        "An iteration of each step",
        "The bare arithmetic is one forward and backward pass of the parts that the step trains, with the update of "
        "their weights: no targets, no sampling, no RoI pooling, no losses. Joint training is compared with the "
        "convolutions alone, without an update.",
    ),
    "iteration_of_a_plan": Section(
        "An iteration of each step of a plan", "The same with the options that `--plan auto` often chooses on a CPU."
    ),
    "tflite": Section(
        "TFLite",
        "The files of `export.tflite --quantize`, and the convolutions and RoI pooling alone in float32.",
    ),
    "runtimes": Section(
        "ONNX Runtime and OpenVINO",
        "The detector converted by tf2onnx, beside TensorFlow, in float32. OpenVINO cannot read the detector that "
        "takes any size, so it is compared with the one of a single size, which is what `export.tflite` converts.",
    ),
    "growth": Section(
        "Growth",
        "How the time of detection grows with one number, beside one picture of 480x640 pixels, 300 proposals, 20 "
        "classes and 1024 units.",
    ),
    "memory": Section(
        "Memory",
        "Detection runs 500 requests of random sizes in one process. Its peak must not grow with their number. "
        "Training has the default options and pictures of 600x1000 pixels, two in a mini-batch of step 2.",
    ),
    "throughput": Section("Pictures in a mini-batch", "Seconds of joint training for each picture."),
}


def page(records: dict[str, dict[str, Any]]) -> str:
    """The text of the page.  `records` has the content of each file by its name."""
    parts = [INTRODUCTION]
    for name, section in SECTIONS.items():
        if name in records:
            parts.append(_section(name, section, records[name]))
    return "\n".join(parts)


def plots(records: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    """The plots of the page as SVG, by the name of their file."""
    drawn = {}
    if "inference" in records:
        drawn["stages.svg"] = _stages_plot(_ratios(records["inference"]))
    for axis, points in _axes(records.get("growth", {"figures": []})).items():
        drawn[f"growth-{axis}.svg"] = _growth_plot(axis, points)
    return drawn


def _section(name: str, section: Section, record: dict[str, Any]) -> str:
    machine = record["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    ratios = _ratios(record)
    lines = [
        f"## {section.title}", "", *_wrapped(section.text), "",
        "```sh", record["command"], "```", "",
        *_wrapped(f"{machine['processor']}, {machine['cores']} cores, {' '.join(machine['vectors'])}; {versions}."), "",
    ]  # fmt: skip
    lines += _table(("", "beside", "median", "range", "seconds", "seconds of the other", "rounds"), map(_row, ratios))
    found = record["figures"]
    lines += _table(("peak memory of", "MiB"), [(one["name"], one["mebibytes"]) for one in found if "mebibytes" in one])
    files = [(one["name"], f"{one['file_mebibytes']:.1f}") for one in found if "file_mebibytes" in one]
    lines += _table(("file", "MiB"), files)
    titles = ("", "beside", "the same detections", "largest difference of a box", "of a score")
    lines += _table(titles, [_agreement(one) for one in found if "matched" in one])
    pictures = ["stages"] if name == "inference" else []
    pictures += [f"growth-{axis}" for axis in _axes(record)] if name == "growth" else []
    lines += [line for picture in pictures for line in (f"![{picture}](images/{picture}.svg)", "")]
    return "\n".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a table, and an empty one; none without rows."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}", *lines, ""] if lines else []


def _row(ratio: dict[str, Any]) -> tuple[Any, ...]:
    spread = f"{ratio['lowest']:.3f} to {ratio['highest']:.3f}"
    seconds = f"{ratio['seconds']:.3f}", f"{ratio['beside_seconds']:.3f}"
    return ratio["name"], ratio["beside"], f"{ratio['ratio']:.3f}", spread, *seconds, ratio["rounds"]


def _agreement(figure: dict[str, Any]) -> tuple[Any, ...]:
    same = f"{figure['matched']} of {figure['detections']}"
    differences = f"{figure['box_difference']:.1e} of the side", f"{figure['score_difference']:.1e}"
    return figure["name"], figure["beside"], same, *differences


def _ratios(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [figure for figure in record["figures"] if "ratio" in figure]


def _wrapped(text: str) -> list[str]:
    """The text in lines of at most 120 characters."""
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _axes(record: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """The points of each axis of growth: its value and the ratio."""
    axes: dict[str, list[tuple[float, float]]] = {}
    for ratio in _ratios(record):
        axis, value = ratio["name"].split()
        axes.setdefault(axis, []).append((float(value), ratio["ratio"]))
    return axes


def _stages_plot(ratios: Sequence[dict[str, Any]]) -> bytes:
    def draw(axes: Any) -> None:
        names = [ratio["name"] for ratio in ratios if ratio["beside"] == "convolutions"]
        values = [ratio["ratio"] for ratio in ratios if ratio["beside"] == "convolutions"]
        axes.barh(names[::-1], values[::-1], color=COLOURS[0])
        axes.set_xlabel("time, as a multiple of the convolutions")

    return svg_plot(draw, WIDE)


def _growth_plot(axis: str, points: Iterable[tuple[float, float]]) -> bytes:
    labels = {"size": "short side in pixels", "proposals": "proposals", "classes": "classes", "batch": "pictures"}

    def draw(axes: Any) -> None:
        values, times = zip(*points, strict=True)
        axes.plot(values, times, marker="o")
        axes.set_xlabel(labels[axis])
        axes.set_ylabel("time, as a multiple")
        axes.set_ylim(bottom=0)

    return svg_plot(draw, WIDE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORD.glob("*.json"))}
    (DOCS / "benchmarks.md").write_text(page(records), encoding="utf-8")
    for name, content in plots(records).items():
        (DOCS / "images" / name).write_bytes(content)


if __name__ == "__main__":
    main()
