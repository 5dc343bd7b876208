"""The plots of the report, as SVG.

Plots contain no class or image names, so that these appear only in the text of the page, where they are escaped.
"""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from keras_frcnn.evaluation.error_analysis.costs import ErrorCost
from keras_frcnn.evaluation.metrics.recall import RecallResult
from keras_frcnn.evaluation.metrics.voc_ap import ClassAP
from keras_frcnn.evaluation.results.tables import recall_columns
from keras_frcnn.facts.pages.plots import SMALL, WIDE, svg_plot
from training.reporting.curves import Curve, thin

CURVE_POINTS = 300  # the most points of a training curve

_MARKED_POINTS = 20  # a curve with fewer points shows each of them


def recall_plot(recall: RecallResult) -> bytes:
    """Recall against the number of proposals: a line for each recall column of the table."""

    def draw(axes: Axes) -> None:
        for name, recalls in recall_columns(recall).items():
            axes.plot(recall.counts, recalls, marker="o", markersize=3, label=name)
        axes.set(xlabel="proposals per image", ylabel="recall", xscale="log", ylim=(0, 1.03))
        axes.set_xticks(recall.counts, list(map(str, recall.counts)))
        axes.minorticks_off()
        axes.legend(loc="lower right")

    return svg_plot(draw, WIDE)


def recalls_plot(recalls: Mapping[str, RecallResult]) -> bytes:
    """Recall at the lowest IoU threshold against the number of proposals: a line for each label."""

    def draw(axes: Axes) -> None:
        for label, recall in recalls.items():
            lowest = min(range(len(recall.iou_thresholds)), key=lambda column: recall.iou_thresholds[column])
            axes.plot(recall.counts, recall.recalls[:, lowest], marker="o", markersize=3, label=label)
        axes.set(xlabel="proposals per image", ylabel="recall", xscale="log", ylim=(0, 1.03))
        axes.legend(loc="lower right")

    return svg_plot(draw, SMALL)


def precision_recall_plot(entry: ClassAP) -> bytes | None:
    """Precision against recall of one class; None where the class has no objects or no detections."""
    if not entry.objects or not entry.detections:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(entry.recall, entry.precision, marker="." if entry.detections == 1 else "")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))

    return svg_plot(draw, SMALL)


def curves_plot(curves: Mapping[str, Curve]) -> bytes:
    """Curves over the iterations by their labels; more than `CURVE_POINTS` records are averaged."""

    def draw(axes: Axes) -> None:
        for label, curve in curves.items():
            iterations, values = thin(curve.iterations, CURVE_POINTS), thin(curve.values, CURVE_POINTS)
            axes.plot(iterations, values, label=label, marker="." if len(iterations) < _MARKED_POINTS else "")
        axes.set(xlabel="iteration")
        axes.update_datalim([(0, 0)], updatex=False)  # so that the room above the curve is a share of the whole height
        axes.autoscale_view()
        axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend()

    return svg_plot(draw, SMALL)


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

    return svg_plot(draw, WIDE)
