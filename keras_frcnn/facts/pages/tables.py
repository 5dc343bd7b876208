"""Tables of texts, for the terminal and for pages."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A table of texts.  The first cell of each row names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[tuple[str, ...], ...] = ()  # rows below the others, such as means


def format_table(table: Table) -> str:
    """The table as plain text: columns two spaces apart, the first one left-aligned and the others right-aligned.

    A rule separates header, rows and footer.
    """
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows, *table.footer, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others])

    parts = ([line(row) for row in part] for part in ((table.header,), table.rows, table.footer))
    return f"\n{rule}\n".join("\n".join(part) for part in parts if part)


def number(value: float, digits: int = 3, missing: str = "-") -> str:
    """`value` with `digits` decimals, or `missing` for NaN."""
    return missing if math.isnan(value) else f"{value:.{digits}f}"
