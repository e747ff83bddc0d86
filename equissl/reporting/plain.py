"""Tables as plain text."""

from __future__ import annotations

from equissl.reporting.table import Cell, Table


def plain_text(table: Table, errors: bool) -> str:
    """Format the table with aligned columns, its baselines beneath a rule.

    Args:
        table: to show.
        errors: show what follows ±.
    """
    lines = [[table.corner, *(column.heading for column in table.columns)]]
    lines += [[row.name, *(_text(found, errors) for found in table.cells(row))] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(_align, line, widths, range(len(line)))) for line in lines]
    rule = "-" * len(text[0])
    learned = sum(not row.baseline for row in table.rows)
    beneath = text[1 + learned :]
    return "\n".join([text[0], rule, *text[1 : 1 + learned], *([rule, *beneath] if beneath else [])])


def _align(text: str, width: int, place: int) -> str:
    return text.rjust(width) if place else text.ljust(width)


def _text(found: Cell, errors: bool) -> str:
    return f"{found.text} ± {found.error}" if errors and found.error else found.text
