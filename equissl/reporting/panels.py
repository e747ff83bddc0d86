"""Charts side by side in one SVG file of its own, such as a figure of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from equissl.reporting.charts import HEIGHT, LEFT, WIDTH, Series, line_chart
from equissl.util.files import write_text

TITLE, LEGEND = 28, 18  # heights of the title and of a row of the legend
_STYLE = (
    "text{fill:#5f6772;font:12px system-ui,Segoe UI,Roboto,sans-serif}"
    ".title{fill:#1c2024;font-weight:600;font-size:14px}.axis{stroke:#c9cdd2}.gridline{stroke:#eceef0}"
)


@dataclass(frozen=True)
class Panel:
    """One chart, with the axis of x logarithmic: a title, labels of its axes, and lines that its legend names."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


def write_panels(panels: Sequence[Panel], path: Path) -> Path:
    """Draw charts side by side.

    Args:
        panels: from left to right; at least one.
        path: of the SVG file.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("expected at least one panel, got none")
    rows = max(len(panel.series) for panel in panels)
    height = TITLE + HEIGHT + LEGEND * rows + 10
    drawn = "".join(_panel(panel, WIDTH * place) for place, panel in enumerate(panels))
    return write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {height}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>\n',
    )


def _panel(panel: Panel, left: float) -> str:
    chart = line_chart(panel.series, panel.x_label, panel.y_label, log_x=True)
    placed = str(chart).replace("<svg ", f'<svg x="{left:g}" y="{TITLE}" width="{WIDTH}" height="{HEIGHT}" ', 1)
    names = "".join(_name(series, left + LEFT, row) for row, series in enumerate(panel.series))
    return f'<text class="title" x="{left + LEFT:g}" y="18">{escape(panel.title)}</text>{placed}{names}'


def _name(series: Series, x: float, row: int) -> str:
    y = TITLE + HEIGHT + LEGEND * row + 8
    dash = ' stroke-dasharray="5 4"' if series.dashed else ""
    return (
        f'<path d="M{x:g} {y - 4}h24" stroke="{series.colour}" stroke-width="2"{dash}/>'
        f'<text x="{x + 32:g}" y="{y}">{escape(series.name)}</text>'
    )
