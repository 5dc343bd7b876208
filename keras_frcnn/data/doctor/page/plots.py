"""The plots of the doctor's page, as SVG."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from keras_frcnn.data.doctor.anchors.coverage import COVERAGE_IOUS
from keras_frcnn.data.doctor.checks.counts import SplitCounts
from keras_frcnn.data.doctor.checks.objects import Objects
from keras_frcnn.data.doctor.examine import AnchorCheck
from keras_frcnn.facts.pages.plots import COLOURS, WIDE, plain_text, svg_plot

MOST_CLASSES = 30  # in the plot of the counts; the table has all

_BINS = 40


def counts_plot(counts: Sequence[SplitCounts]) -> bytes:
    """Objects of each class: a bar for each split, the most frequent classes on top."""
    totals: dict[str, int] = {}
    for split in counts:
        for name, number in split.objects.items():
            totals[name] = totals.get(name, 0) + number
    names = sorted(totals, key=lambda name: -totals[name])[:MOST_CLASSES]
    height = 0.8 / len(counts)

    def draw(axes: Axes) -> None:
        for place, split in enumerate(counts):
            rows = np.arange(len(names)) + (place - (len(counts) - 1) / 2) * height
            axes.barh(rows, [split.objects.get(name, 0) for name in names], height, label=plain_text(split.name))
        axes.set_yticks(range(len(names)), list(map(plain_text, names)), parse_math=False)
        axes.margins(y=0.01)
        axes.invert_yaxis()
        axes.set(xlabel="objects")
        axes.grid(False, axis="y")
        axes.legend()

    return svg_plot(draw, (WIDE[0], 0.7 + 0.16 * len(names) * (1 + 0.5 * len(counts))))


def sizes_plot(objects: Objects, check: AnchorCheck) -> bytes:
    """How many objects have which size, and the scales of the anchors as lines."""
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    sizes = np.sqrt(sides.prod(axis=1))

    def draw(axes: Axes) -> None:
        edges = np.geomspace(max(sizes.min(initial=8.0), 1.0), sizes.max(initial=512.0) * 1.01, _BINS).tolist()
        axes.hist(sizes, edges, color=COLOURS[5])
        for place, (name, part) in enumerate(check.parts().items()):
            for number, scale in enumerate(part.anchors.scales):
                label = f"{name} scales" if number == 0 else None
                axes.axvline(scale, color=COLOURS[place], linestyle=("-", "--")[place], label=label)
        axes.set(xlabel="√area in pixels of the resized picture", ylabel="objects", xscale="log")
        axes.set_xticks([16, 32, 64, 128, 256, 512], ["16", "32", "64", "128", "256", "512"])
        axes.minorticks_off()
        axes.legend()

    return svg_plot(draw, WIDE)


def coverage_plot(check: AnchorCheck) -> bytes:
    """The share of the objects that reach each IoU with an anchor."""

    def draw(axes: Axes) -> None:
        for place, (name, part) in enumerate(check.parts().items()):
            ious = np.sort(part.best_ious)
            shares = 1 - np.arange(len(ious)) / max(len(ious), 1)
            axes.plot(ious, shares, color=COLOURS[place], linestyle=("-", "--")[place], label=name)
        for iou in COVERAGE_IOUS:
            axes.axvline(iou, color="0.6", linewidth=0.8, zorder=0)
        axes.set(xlabel="IoU with the best anchor", ylabel="share of the objects", xlim=(0, 1), ylim=(0, 1.03))
        axes.legend(loc="lower left")

    return svg_plot(draw, WIDE)
