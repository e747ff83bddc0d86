"""Small charts as inline SVG, coloured by the page's style sheet in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 46
ROW = 30  # height of a bar's row
LETTER = 7  # width of a letter, about
MAX_POINTS = 160


@dataclass(frozen=True)
class Series:
    """Line of a chart: a name, a CSS colour, and points.

    ``dashed`` sets references apart from measurements, ``dots`` marks each point.
    """

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Bar:
    """One horizontal bar: a label, a CSS colour, a value and its standard error."""

    label: str
    colour: str
    value: float
    error: float | None = None
    faint: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose about ``count`` round numbers (1, 2 or 5 times a power of ten apart) within [low, high].

    Args:
        low: end of the axis.
        high: other end.
        count: of numbers, about.
    """
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten within [low, high].

    Args:
        low: end of the axis, above zero.
        high: other end.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]


def thin(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Average finite points in equal groups where there are over ``limit``: a noisy loss becomes its local mean.

    Args:
        points: (x, y).
        limit: of the number of points.
    """
    finite = [point for point in points if all(map(math.isfinite, point))]
    size = -(-len(finite) // limit) if finite else 1
    groups = (finite[i : i + size] for i in range(0, len(finite), size))
    return [(sum(p[0] for p in g) / len(g), sum(p[1] for p in g) / len(g)) for g in groups]


def number(value: float) -> str:
    """Format a short label of a tick: 12k, 1.5M, 0.25."""
    for scale, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:g}{suffix}"
    return f"{value:g}"


def line_chart(
    series: Sequence[Series], x_label: str, y_label: str, y_zero: bool = False, log_x: bool = False
) -> Markup:
    """Draw lines over a common axis. Empty where no series has a finite point.

    Args:
        series: to draw.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        y_zero: let the vertical axis start at zero.
        log_x: logarithmic horizontal axis, for x above zero.
    """
    lines = [replace(s, points=thin(_logarithmic(s.points) if log_x else s.points)) for s in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x0, x1 = _span(min(xs), max(xs), pad=0.05 if log_x else 0.0)
    y0, y1 = _span(0.0 if y_zero else min(ys), max(ys), pad=0.04)
    y0 = 0.0 if y_zero else y0
    frame = _Frame(x0, x1, y0, y1, log_x)
    return _svg(frame.axes(x_label, y_label) + "".join(frame.line(line) for line in lines), f"{y_label} over {x_label}")


def bar_chart(bars: Sequence[Bar], unit: str, reference: tuple[str, float] | None = None, digits: int = 1) -> Markup:
    """Draw horizontal bars from zero with error whiskers, and a dashed line for baselines.

    Args:
        bars: from above to below; none give an empty chart.
        unit: behind each number.
        reference: name and value of the dashed line.
        digits: decimals.
    """
    if not bars:
        return Markup("")
    scale = _Bars.of(bars, reference, [_bar_text(bar, unit, digits) for bar in bars])
    marks = [_bar(bar, scale, index, _bar_text(bar, unit, digits)) for index, bar in enumerate(bars)]
    if reference:
        marks.append(_reference(reference, scale, f"{reference[0]} {reference[1]:.{digits}f}{unit}"))
    return _svg("".join(marks), ", ".join(bar.label for bar in bars), scale.height)


def heat_map(values: Sequence[Sequence[float]], names: Sequence[str], colour: str = "var(--c0)") -> Markup:
    """Draw a square table of numbers as shades, from its smallest to its largest; each field names its number.

    Args:
        values: rows from above to below.
        names: of rows and columns.
        colour: CSS colour of the largest number.
    """
    numbers = [value for row in values for value in row]
    if not numbers:
        return Markup("")
    low, high = min(numbers), max(numbers)
    left = min(WIDTH / 3, 12 + LETTER * max(map(len, names)))
    side = (WIDTH - left - RIGHT) / len(names)
    fields = [
        f'<rect x="{left + side * j:.1f}" y="{TOP + side * i:.1f}" width="{side:.2f}" height="{side:.2f}" '
        f'fill="{colour}" opacity="{0.04 + 0.96 * (value - low) / ((high - low) or 1.0):.3f}">'
        f"<title>{escape(f'{names[i]}, {names[j]}: {value:.3f}')}</title></rect>"
        for i, row in enumerate(values)
        for j, value in enumerate(row)
    ]
    labels = [
        f'<text x="{left - 8:g}" y="{TOP + side * (i + 0.5) + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        for i, name in enumerate(names)
        if side >= ROW / 2
    ]
    bottom = TOP + side * len(names)
    scale = f'<text x="{left:g}" y="{bottom + 18:.1f}">pale {low:.3f}, full {high:.3f}; columns as rows</text>'
    return _svg("".join(fields + labels) + scale, f"relations of {', '.join(names)}", bottom + 26)


@dataclass(frozen=True)
class _Bars:
    """Extent of the bars: their left and right end, the rows' top and number, and the largest value."""

    left: float
    right: float
    top: float
    count: int
    peak: float

    @classmethod
    def of(cls, bars: Sequence[Bar], reference: tuple[str, float] | None, texts: Sequence[str]) -> _Bars:
        values = [bar.value + (bar.error or 0.0) for bar in bars] + ([reference[1]] if reference else [])
        left = max(148, 12 + LETTER * max(len(bar.label) for bar in bars))
        right = max(92, 12 + LETTER * max(map(len, texts)))
        return cls(left, WIDTH - right, 26 if reference else 6, len(bars), max(*values, 0.0) or 1.0)

    @property
    def height(self) -> float:
        return self.top + ROW * self.count + 8

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * max(value, 0.0) / self.peak

    def middle(self, index: int) -> float:
        return self.top + ROW * index + ROW / 2


def _bar_text(bar: Bar, unit: str, digits: int) -> str:
    return f"{bar.value:.{digits}f}{unit}" + (f" ± {bar.error:.{digits}f}" if bar.error else "")


def _bar(bar: Bar, scale: _Bars, index: int, text: str) -> str:
    middle, error = scale.middle(index), bar.error or 0.0
    whisker = f"M{scale.x(bar.value - error):.1f} {middle:.1f}H{scale.x(bar.value + error):.1f}"
    return (
        f'<rect x="{scale.left:g}" y="{middle - 8:.1f}" width="{max(1.0, scale.x(bar.value) - scale.left):.1f}" '
        f'height="16" rx="3" fill="{bar.colour}" opacity="{0.45 if bar.faint else 0.9}"/>'
        f'<text x="{scale.left - 10:g}" y="{middle + 4:.1f}" text-anchor="end">{escape(bar.label)}</text>'
        + (f'<path d="{whisker}" stroke="var(--ink)"/>' if error else "")
        + f'<text class="value" x="{WIDTH - 4}" y="{middle + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def _reference(reference: tuple[str, float], scale: _Bars, text: str) -> str:
    x = scale.x(reference[1])
    return (
        f'<path d="M{x:.1f} {scale.top - 4:g}V{scale.height - 6:g}" stroke="var(--soft)" stroke-dasharray="4 4"/>'
        f'<text x="{x:.1f}" y="{scale.top - 10:g}" text-anchor="{"end" if x > WIDTH / 2 else "start"}">'
        f"{escape(text)}</text>"
    )


@dataclass(frozen=True)
class _Frame:
    x0: float
    x1: float
    y0: float
    y1: float
    log_x: bool = False

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.y1 - value) / (self.y1 - self.y0)

    def axes(self, x_label: str, y_label: str) -> str:
        rows = "".join(
            f'<path class="gridline" d="M{LEFT} {self.y(t):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 8}" y="{self.y(t) + 4:.1f}" text-anchor="end">{number(t)}</text>'
            for t in ticks(self.y0, self.y1)
        )
        columns = "".join(
            f'<text x="{self.x(place):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(value)}</text>'
            for place, value in self.columns()
        )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        return (
            f'{rows}{columns}<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
            f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        )

    def columns(self) -> list[tuple[float, float]]:
        """Return place and value of each tick of the horizontal axis."""
        if self.log_x:
            return [(math.log10(value), value) for value in log_ticks(10**self.x0, 10**self.x1)]
        return [(value, value) for value in ticks(self.x0, self.x1, 6)]

    def line(self, series: Series) -> str:
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in series.points)
        dot = len(series.points) == 1
        path, width = (f"{path}h0", 7) if dot else (path, 2)
        dash = ' stroke-dasharray="5 4"' if series.dashed else ""
        dots = [f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.5"/>' for x, y in series.points]
        return (
            f'<path d="M{path}" fill="none" stroke="{series.colour}" stroke-width="{width}" stroke-linejoin="round" '
            f'stroke-linecap="round"{dash}>'
            f"<title>{escape(series.name)}</title></path>"
            + (f'<g fill="{series.colour}">{"".join(dots)}</g>' if series.dots else "")
        )


def _logarithmic(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(math.log10(x), y) for x, y in points]


def _span(low: float, high: float, pad: float = 0.0) -> tuple[float, float]:
    if high <= low:
        return low - 0.5, high + 0.5
    return low - pad * (high - low), high + pad * (high - low)


def _svg(content: str, label: str, height: float = HEIGHT) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>')
