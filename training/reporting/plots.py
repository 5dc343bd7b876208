"""The plots of the report, as SVG.

Plots contain no class or image names, so that these appear only in the text of the page, where they are escaped.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib import rcsetup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_frcnn.evaluation.error_analysis.costs import ErrorCost
from keras_frcnn.evaluation.recall import RecallResult
from keras_frcnn.evaluation.tables import recall_columns
from keras_frcnn.evaluation.voc_ap import ClassAP
from training.reporting.curves import Curve, thin

CURVE_POINTS = 300  # the most points of a training curve

_MARKED_POINTS = 20  # a curve with fewer points shows each of them
_SMALL, _WIDE = (2.9, 2.1), (4.6, 2.7)  # width and height; 1 is 72 CSS points
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # suitable for colour-blind readers
# Matplotlib types these settings only by a list of all their names, so this is Any.
_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": rcsetup.cycler(color=_COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.0,
    "grid.alpha": 0.3,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "path.simplify_threshold": 0.4,  # pixels
    "svg.fonttype": "none",  # text in the reader's font: a fifth of the size of outlines
    "svg.hashsalt": "report",  # the same ids, and so the same bytes, each time
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def recall_plot(recall: RecallResult) -> bytes:
    """Recall against the number of proposals: a line for each recall column of the table."""

    def draw(axes: Axes) -> None:
        for name, recalls in recall_columns(recall).items():
            axes.plot(recall.counts, recalls, marker="o", markersize=3, label=name)
        axes.set(xlabel="proposals per image", ylabel="recall", xscale="log", ylim=(0, 1.03))
        axes.set_xticks(recall.counts, list(map(str, recall.counts)))
        axes.minorticks_off()
        axes.legend(loc="lower right")

    return _svg(draw, _WIDE)


def precision_recall_plot(entry: ClassAP) -> bytes | None:
    """Precision against recall of one class; None where the class has no objects or no detections."""
    if not entry.objects or not entry.detections:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(entry.recall, entry.precision, marker="." if entry.detections == 1 else "")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))

    return _svg(draw, _SMALL)


def curves_plot(curves: Mapping[str, Curve]) -> bytes:
    """Curves over the iterations by their labels; more than `CURVE_POINTS` records are averaged."""

    def draw(axes: Axes) -> None:
        for label, curve in curves.items():
            iterations, values = thin(curve.iterations, CURVE_POINTS), thin(curve.values, CURVE_POINTS)
            axes.plot(iterations, values, label=label, marker="." if len(iterations) < _MARKED_POINTS else "")
        axes.set(xlabel="iteration")
        axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend()

    return _svg(draw, _SMALL)


def error_cost_plot(costs: Sequence[ErrorCost]) -> bytes:
    """A bar for each kind of error: the mAP that fixing it alone would give back."""

    def draw(axes: Axes) -> None:
        gains = [0.0 if math.isnan(entry.cost) else entry.cost for entry in costs]
        bars = axes.barh([entry.kind for entry in costs], gains)
        axes.bar_label(bars, [f"{gain:.3f}" for gain in gains], padding=3, fontsize=7.5)
        axes.set(xlabel="gain of mAP (area) if fixed alone")
        axes.set_xlim(0, max(1.18 * max(gains), 0.01))  # room for the labels
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")

    return _svg(draw, _WIDE)


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> bytes:
    """The SVG of the axes that `draw` fills."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    svg = written.getvalue()
    return svg[svg.index("<svg") :].encode("utf-8")  # leaves out the document type, which has a network address
