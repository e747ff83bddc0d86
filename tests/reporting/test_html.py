"""Templates: what is escaped, where they are found, and the style sheet's colours."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError
from markupsafe import Markup

from equissl.reporting.blocks import Card, Detail, Tile
from equissl.reporting.charts import Series
from equissl.reporting.colours import COLOURS
from equissl.reporting.html import render_page
from equissl.reporting.page import run_page
from equissl.reporting.runs import Run
from equissl.reporting.table import Column

COLUMNS = (Column("score <1>", "score", best="max"),)


def runs() -> list[Run]:
    return [
        Run(name, f"var(--c{i})", {"method": name, "run": name, "score": i}, {}, {}, f"of: {name}", None)
        for i, name in enumerate(("a<b", "c"))
    ]


def test_the_skeleton_alone_is_a_page_and_escapes_all_texts() -> None:
    chart = Markup('<svg viewBox="0 0 1 1"></svg>')
    card = Card("t<", chart, [Series("s<", "red", [])])
    page = run_page("page.html", runs(), COLUMNS, [], {"store": "d<"}, title="x<", setup="y<", bars=[card],
                    tiles=[Tile("h<", "v<", "w<")], curves=[card])  # fmt: skip
    assert chart in page and "score &lt;1&gt;" in page and "of: a&lt;b" in page
    assert not re.search(r"(a|d|h|s|t|v|w|x|y)<[^/]", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    assert '<td class="best">1.0</td>' in page and page.count("<h2>Curves</h2>") == 1
    assert "<h2>Curves</h2>" not in run_page("page.html", runs(), COLUMNS, [], {}, title="x", setup="y")


def test_another_package_brings_its_own_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "outside_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    text = '{% extends "page.html" %}{% block note %}{{ hint }}{% endblock %}'
    (folder / "mine.html").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"title": "x", "setup": "y", "hint": "1 < 2"}
    page = run_page("outside_package:mine.html", runs(), COLUMNS, [], {}, **settings)
    assert "1 &lt; 2" in page and "<h2>Results</h2>" in page and "--c0" in page
    with pytest.raises(TemplateNotFound, match=r"outside_package:other\.html"):
        render_page("outside_package:other.html")


def test_what_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render_page("page.html")


def test_details_open_under_their_summary() -> None:
    page = run_page("page.html", runs(), COLUMNS, [], {"points": 3}, title="x", setup="y")
    found = re.findall(r"<details><summary>(.*?)</summary><pre>(.*?)</pre></details>", page, re.DOTALL)
    assert [summary for summary, _ in found][:3] == [
        "Environment and data", "a&lt;b: configuration", "a&lt;b: all results",
    ]  # fmt: skip
    assert "points: 3" in found[0][1] and Detail("a", "b").text == "b"


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of #rrggbb or #rgb."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_can_be_told_from_light_and_dark_backgrounds() -> None:
    style = files("equissl.reporting").joinpath("style.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")
    for scheme in (light, dark):
        colours = dict(re.findall(r"--(\w+): #(\w+)", scheme))
        for background in (colours["bg"], colours["card"]):
            for i in range(COLOURS):
                bright, faint = sorted((_luminance(colours[f"c{i}"]), _luminance(background)), reverse=True)
                assert (bright + 0.05) / (faint + 0.05) >= 3, (i, background)
