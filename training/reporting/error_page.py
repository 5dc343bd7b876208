"""The page of the error analysis: one file, errors.html, that opens offline.

This module gathers what the page shows; errors.html.j2 has its layout and its words.  All images are inside the page.
The page is well-formed XML as well as HTML, so that tests can read it.
"""

import base64
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import numpy as np

from keras_frcnn.data.example import Dataset
from keras_frcnn.evaluation.error_analysis.analysis import ErrorAnalysis
from keras_frcnn.evaluation.error_analysis.tables import (
    best_f1_table,
    class_cost_table,
    confusion_table,
    cost_table,
    miss_table,
)
from keras_frcnn.evaluation.tables import Table, number
from keras_frcnn.facts.files import write_atomically
from training.reporting.error_pictures import COLOURS, ErrorPicture, error_pictures
from training.reporting.plots import error_cost_plot

_MISSING = "–"  # in place of a number that is NaN


class ErrorPage(NamedTuple):
    """What the page shows."""

    data: str  # the name of the data set
    analysis: ErrorAnalysis
    costs: Table
    cost_plot: bytes  # SVG
    class_costs: Table
    misses: Table
    confusion: Table
    confusion_shares: list[list[float]]  # of each cell of `confusion`, its share of its row, footer included
    best_f1: Table
    pictures: Sequence[ErrorPicture]
    colours: dict[str, str]  # what a frame means -> its colour in CSS


def write_error_page(folder: pathlib.Path, dataset: Dataset, analysis: ErrorAnalysis) -> pathlib.Path:
    """Write `folder/errors.html` and return its path.

    `analysis` is the error analysis of all examples of `dataset`, in their order.  Raises
    `tf.errors.InvalidArgumentError` if an image that the page shows cannot be decoded.
    """
    confusion = confusion_table(analysis)
    page = ErrorPage(
        data=dataset.name,
        analysis=analysis,
        costs=cost_table(analysis, missing=_MISSING),
        cost_plot=error_cost_plot(analysis.costs),
        class_costs=class_cost_table(analysis, missing=_MISSING),
        misses=miss_table(analysis),
        confusion=confusion,
        confusion_shares=_shares(confusion),
        best_f1=best_f1_table(analysis, missing=_MISSING),
        pictures=error_pictures(dataset, analysis),
        colours={name: f"rgb{colour}" for name, colour in COLOURS.items()},
    )
    path = pathlib.Path(folder) / "errors.html"
    encoded = _render(page).encode("utf-8", errors="replace")
    write_atomically(path, lambda temporary: temporary.write_bytes(encoded))
    return path


def _shares(table: Table) -> list[list[float]]:
    """Each count divided by the sum of its row, 0 in an empty row; the footer is the last row."""
    shares = []
    for _, *cells in (*table.rows, *table.footer):
        counts = np.array([int(cell or 0) for cell in cells])
        shares.append((counts / max(1, counts.sum())).round(3).tolist())
    return shares


def _render(page: ErrorPage) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: number(value, missing=_MISSING)
    environment.filters["base64"] = lambda encoded: base64.b64encode(encoded).decode("ascii")
    return environment.get_template("errors.html.j2").render(page._asdict())
