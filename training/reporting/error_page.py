"""The page of the error analysis: one file, errors.html, that opens offline.

This module gathers what the page shows; errors.html.j2 has its layout and its words.  All images are inside the page.
The page is well-formed XML as well as HTML, so that tests can read it.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

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
from keras_frcnn.facts.pages.rendering import MISSING, write_page
from keras_frcnn.facts.pages.tables import Table
from training.reporting.error_pictures import COLOURS, ErrorPicture, error_pictures
from training.reporting.plots import error_cost_plot


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

    `analysis` is the error analysis of all examples of `dataset`, in their order.  Raises InputError
    if an image that the page shows cannot be read.
    """
    confusion = confusion_table(analysis)
    page = ErrorPage(
        data=dataset.name,
        analysis=analysis,
        costs=cost_table(analysis, missing=MISSING),
        cost_plot=error_cost_plot(analysis.costs),
        class_costs=class_cost_table(analysis, missing=MISSING),
        misses=miss_table(analysis),
        confusion=confusion,
        confusion_shares=_shares(confusion),
        best_f1=best_f1_table(analysis, missing=MISSING),
        pictures=error_pictures(dataset, analysis),
        colours={name: f"rgb{colour}" for name, colour in COLOURS.items()},
    )
    path = pathlib.Path(folder) / "errors.html"
    write_page(path, pathlib.Path(__file__).parent / "errors.html.j2", page._asdict())
    return path


def _shares(table: Table) -> list[list[float]]:
    """Each count divided by the sum of its row, 0 in an empty row; the footer is the last row."""
    shares = []
    for _, *cells in (*table.rows, *table.footer):
        counts = np.array([int(cell or 0) for cell in cells])
        shares.append((counts / max(1, counts.sum())).round(3).tolist())
    return shares
