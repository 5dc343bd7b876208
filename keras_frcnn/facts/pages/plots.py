"""The style of plots in pages, and how a plot becomes SVG."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib import rcsetup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SMALL, WIDE = (2.9, 2.1), (4.6, 2.7)  # width and height; 1 is 72 CSS points
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # suitable for colour-blind readers

# Matplotlib types these settings only by a list of all their names, so this is Any.
_STYLE: Any = {
    "axes.grid": True,
    "axes.prop_cycle": rcsetup.cycler(color=COLOURS),
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


def svg_plot(draw: Callable[[Axes], None], size: tuple[float, float]) -> bytes:
    """The SVG of the axes that `draw` fills; `size` is its width and height, as `SMALL` and `WIDE` are.

    The same drawing gives the same bytes.  Names of classes or files need `plain_text` and `parse_math=False`.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=_NO_METADATA)
    svg = written.getvalue()
    return svg[svg.index("<svg") :].encode("utf-8")  # leaves out the document type, which has a network address


def plain_text(name: str, most: int = 24) -> str:
    """A name on one line of a plot: at most `most` characters, and ? for those that SVG cannot hold."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= most else f"{printable[: most - 1]}…"
