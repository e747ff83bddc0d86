"""Tables as plain text."""

from __future__ import annotations

import re

from equissl.reporting.collapse import COLLAPSED
from equissl.reporting.table import Cell, Table

WARNING = "warning"  # heading of the last column
RED, END = "\x1b[1;31m", "\x1b[0m"  # of a terminal


def plain_text(table: Table, errors: bool) -> str:
    """Format the table with aligned columns, its baselines beneath a rule; warnings about rows are a last column.

    Args:
        table: to show.
        errors: show what follows ±.
    """
    lines = [[table.corner, *(column.heading for column in table.columns)]]
    lines += [[row.name, *(_text(found, errors) for found in table.cells(row))] for row in table.rows]
    if any(row.flag for row in table.rows):
        lines = [[*line, flag] for line, flag in zip(lines, [WARNING, *(row.flag for row in table.rows)], strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(_align, line, widths, range(len(line)))) for line in lines]
    rule = "-" * len(text[0])
    learned = sum(not row.baseline for row in table.rows)
    beneath = text[1 + learned :]
    return "\n".join([text[0], rule, *text[1 : 1 + learned], *([rule, *beneath] if beneath else [])])


def in_colour(text: str) -> str:
    """Return the text of tables for a terminal, with the rows of collapsed runs in red."""
    return re.sub(rf"(?m)^.*\b{COLLAPSED}\b.*$", rf"{RED}\g<0>{END}", text)


def _align(text: str, width: int, place: int) -> str:
    return text.rjust(width) if place else text.ljust(width)


def _text(found: Cell, errors: bool) -> str:
    text = f"{found.text} ± {found.error}" if errors and found.error else found.text
    return f"{text} ({found.flag})" if found.flag else text
