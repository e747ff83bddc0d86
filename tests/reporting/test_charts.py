"""SVG charts: geometry of the marks, and what they leave out."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from equissl.reporting.charts import (
    MAX_POINTS,
    Bar,
    Series,
    bar_chart,
    heat_map,
    line_chart,
    log_ticks,
    number,
    thin,
    ticks,
)
from equissl.reporting.colours import COLOURS, assign_colours
from equissl.reporting.panels import Panel, write_panels
from equissl.reporting.views.figures import cumulative


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [3]), (-7, 12, [-5, 0, 5, 10])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_numbers_are_short() -> None:
    assert [number(v) for v in (0, 0.25, 1500, 2e6)] == ["0", "0.25", "1.5k", "2M"]


def test_long_curves_keep_their_mean_and_lose_what_is_not_finite() -> None:
    points = [(float(x), math.sin(x)) for x in range(1000)] + [(1000.0, math.nan)]
    few = thin(points)
    assert len(few) <= MAX_POINTS
    assert np.mean([y for _, y in few]) == pytest.approx(np.mean([y for _, y in points[:-1]]), abs=0.02)
    assert thin(points[:5]) == points[:5]


def test_lines_go_through_their_points() -> None:
    svg = line_chart([Series("a<b", "red", [(0, 0), (1, 10), (2, 5)])], "x & y", "value")
    ElementTree.fromstring(svg)  # well formed, so names are escaped
    path = re.search(r'd="M([^"]+)" fill="none"', svg).group(1)
    xs, ys = zip(*(map(float, point.split()) for point in path.split("L")), strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert (ys[0] - ys[2]) == pytest.approx((ys[0] - ys[1]) / 2, abs=0.11)


def test_factors_are_steps_on_a_logarithmic_axis() -> None:
    assert log_ticks(90, 1100) == [100, 200, 500, 1000]
    svg = line_chart([Series("a", "red", [(100, 1), (200, 2), (400, 3)], dots=True)], "x", "y", log_x=True)
    ElementTree.fromstring(svg)
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    assert len(xs) == 3 and xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert ">200<" in svg and ">150<" not in svg


def test_shades_span_the_numbers_of_a_heat_map() -> None:
    svg = heat_map([[0.2, 0.4], [0.3, 0.6]], ["a<b", "c"])
    ElementTree.fromstring(svg)
    shades = [float(x) for x in re.findall(r'opacity="([\d.]+)"', svg)]
    assert shades == pytest.approx([0.04, 0.52, 0.28, 1.0])
    assert "a&lt;b, c: 0.400" in svg and heat_map([], []) == ""
    assert 'opacity="0.040"' in heat_map([[1.0]], ["one"])  # equal numbers are no division by zero


def test_panels_stand_side_by_side_in_one_file(tmp_path: Path) -> None:
    lines = [Series("a < b", "red", [(1, 1), (10, 2)]), Series("reference", "blue", [(1, 0), (10, 0)], dashed=True)]
    file = write_panels(
        [Panel(title, "views", "degrees", lines) for title in ("left", "right & last")], tmp_path / "f.svg"
    )
    root = ElementTree.parse(file).getroot()
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("a < b") == texts.count("reference") == texts.count("degrees") == 2 and "right & last" in texts
    assert [chart.get("x") for chart in root.findall("{http://www.w3.org/2000/svg}svg")] == ["0", "520"]
    with pytest.raises(ValueError, match="at least one panel"):
        write_panels([], tmp_path / "none.svg")


def test_nothing_to_draw_gives_no_chart() -> None:
    assert line_chart([Series("a", "red", [(0, math.nan)])], "x", "y") == ""
    assert line_chart([], "x", "y") == bar_chart([], "°") == ""


def test_bars_have_the_length_of_their_values() -> None:
    svg = bar_chart([Bar("a", "red", 50.0), Bar("b", "blue", 25.0, 5.0)], "°", ("constant", 60.0))
    ElementTree.fromstring(svg)
    a, b = (float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)" height', svg))
    assert a == pytest.approx(2 * b, abs=0.2)
    assert "25.0° ± 5.0" in svg and "constant 60.0°" in svg


def test_one_point_is_a_dot_and_numbers_have_room() -> None:
    assert re.search(r'd="M[^"L]+h0" fill="none"', line_chart([Series("a", "red", [(1, 2)])], "x", "y"))
    svg = bar_chart([Bar("a", "red", 31.2, 11.3), Bar("b", "red", 12345.6, 100.0)], " frames")
    ends = [float(x) for x in re.findall(r"H([\d.]+)", svg)]
    assert max(ends) <= 520 - 7 * len("12345.6 frames ± 100.0")


def test_cumulative_shares() -> None:
    curve = dict(cumulative(np.array([0.0, 10.0, 90.0, 180.0])))
    assert (curve[0], curve[10], curve[85], curve[90], curve[180]) == (25, 50, 50, 75, 100)


def test_a_method_has_one_colour_in_every_report() -> None:
    assert assign_colours(["SIE", "Mine"])["SIE"] == assign_colours(["VICReg", "SIE"])["SIE"]
    many = assign_colours(["EquiCaps", *(f"run {i}" for i in range(COLOURS - 1))])
    assert len(set(many.values())) == COLOURS
