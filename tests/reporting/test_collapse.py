"""Collapse is named in the table, on the page and on a terminal."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equissl.metrics import is_collapsed, rankme
from equissl.metrics.collapse import COLLAPSED_RANK
from equissl.reporting import format_table
from equissl.reporting.blocks import Tile
from equissl.reporting.collapse import verdict
from equissl.reporting.diagnostics import collapse_rows
from equissl.reporting.html import render_page
from equissl.reporting.plain import END, RED, in_colour
from equissl.reporting.runs import Run
from equissl.reporting.seeds import merge_seeds
from equissl.reporting.table import Column, Table, build_table
from equissl.reporting.tiles import best_tile, uncounted
from equissl.runs.config import CollapseConfig

RANK = Column("RankMe", "collapse/rankme/all")


def result(rank: float, dim: int = 16, **more: Any) -> dict[str, Any]:
    key = {"collapse/rankme/all": rank, "collapse/dim/all": dim, "collapse/std/all": 0.1}
    return {"kind": "views", "method": "SIE", "run": "sie", "store": "a.h5", "classification/all/top1": 0.5,
            "classification/chance": 0.1, "classification/majority": 0.1, **key, **more}  # fmt: skip


def test_features_along_one_direction_are_collapsed_and_others_are_not() -> None:
    random = torch.Generator().manual_seed(0)
    line = torch.randn(200, 1, generator=random) @ torch.randn(1, 16, generator=random)
    noisy = line + 1e-3 * torch.randn(200, 16, generator=random)
    full = torch.randn(200, 16, generator=random)
    assert [is_collapsed(rankme(x), 16) for x in (line, noisy, full, torch.zeros(200, 16))] == [True, True, False, True]
    assert CollapseConfig().rankme == COLLAPSED_RANK  # training warns at the same number
    few = full[:2] + 5  # two vectors have a RankMe of at most 2, whatever they are
    assert is_collapsed(rankme(few), 16) and not is_collapsed(rankme(few), 16, rows=2)
    assert is_collapsed(rankme(noisy), 16, rows=200)
    assert is_collapsed(1.5, 16) and not is_collapsed(2.0, 16) and not is_collapsed(1.5, 2)


def test_the_words_of_a_row_and_of_its_rank() -> None:
    table = build_table([result(1.5), result(9.0, run="b")], [RANK])
    assert [row.flag for row in table.rows] == ["collapsed: all", ""]
    assert [cell.flag for row in table.rows for cell in table.cells(row)] == ["collapsed", ""]
    before = {"collapse/rankme/initial": 1.2, "collapse/dim/initial": 16}
    kept = build_table([result(9.0, **before)], [RANK])  # an encoder before training is no news about the run
    assert kept.rows[0].flag == "" and verdict(result(9.0, **before), "initial") == "collapsed"


def test_a_few_sweeps_are_no_sign_of_collapse() -> None:
    assert verdict(result(1.5, **{"collapse/rows/all": 2}), "all") == ""
    assert verdict(result(1.5, **{"collapse/rows/all": 8}), "all") == "collapsed"


def test_a_terminal_and_a_page_show_it_in_red() -> None:
    text = format_table([result(1.5), result(9.0, run="b")])
    head, _, bad, good, *_ = text.splitlines()
    assert head.endswith("warning") and bad.endswith("collapsed: all") and "collapsed" not in good
    lines = in_colour(text).splitlines()
    assert lines[2] == f"{RED}{bad}{END}" and lines[3] == good
    assert "warning" not in format_table([result(9.0)])
    table = build_table([result(1.5)], [RANK])
    details = {
        "spread": "",
        "bars": [],
        "curves": [],
        "details": [],
        "runs": [],
        "relations": [],
        "tiles": [Tile("a", "b", "c")],
    }
    page = render_page("page.html", title="x", setup="y", table=table, **details)
    assert '<span class="flag">collapsed: all</span>' in page and '<span class="flag">collapsed</span>' in page
    assert ".flag { color: var(--bad)" in page


def test_every_part_has_a_row_and_one_collapsed_seed_is_not_hidden_by_the_mean() -> None:
    seeds = [result(rank, seed=seed) for seed, rank in enumerate((1.0, 12.0, 12.0))]
    merged = merge_seeds(seeds, "sie")
    assert verdict(merged, "all") == "a seed collapsed" and verdict(merge_seeds(seeds[1:], "sie"), "all") == ""
    parts = {f"collapse/{key}/{part}": value for part, value in (("equi", 1.1), ("inv", 8.0), ("initial", 5.0))
             for key in ("rankme", "dim", "std")}  # fmt: skip
    run = Run("SIE", "red", {**result(9.0), **parts, "collapse/dim/equi": 16}, {}, {}, "")
    rows = collapse_rows([run])
    assert [row.name for row in rows] == ["SIE", "SIE · equi", "SIE · inv", "SIE · before training"]
    assert [row.flags for row in rows] == [{}, {0: "collapsed"}, {}, {}]
    assert Table((RANK, RANK, RANK), tuple(rows)).cells(rows[1])[0].flag == "collapsed"


@pytest.mark.parametrize("best", ["min", "max"])
def test_a_tile_names_the_rows_that_it_does_not_count(best: str) -> None:
    values = {"a": {"x": 1.0}, "b": {"x": 2.0}, "c": {}}
    runs = [Run(name, "", {"method": name, **own}, {}, {}, "") for name, own in values.items()]
    (tile,) = best_tile(runs, Column("x", "x", best=best), excluded={"a": "trained on the labels"})
    assert (tile.value, tile.text) == ("2.0", "b; not counted: a (trained on the labels), c (not measured)")
    assert uncounted(runs[:2], "x") == "" and best_tile(runs[2:], Column("x", "x", best=best)) == []
