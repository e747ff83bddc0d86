"""Tables: text, digits, baselines."""

from __future__ import annotations

import math

import pytest

from equissl.reporting import format_table
from equissl.reporting.table import Column, Row, Table, build_table, cell, distinct_rows, error_text, names
from equissl.reporting.views.table import COLUMNS, baselines


def result(method: str, **scores: float) -> dict:
    base = {
        "kind": "views", "method": method, "run": method.lower(), "store": "s.h5",
        "classification/chance": 0.1, "classification/majority": 0.16,
        "rotation/mean_deg/constant": 60.4, "rotation/median_deg/constant": 52.0, "rotation/r2_uniform/constant": 0.0,
        "rotation/r2_global/constant": 0.58, "classification/all/top1": 0.5, "rotation/mean_deg/all": 50.0,
    }  # fmt: skip
    return {**base, **scores}


def test_trivial_predictors_stand_beneath_the_runs() -> None:
    lines = format_table([result("VICReg"), result("SIE", **{"rotation/mean_deg/equi": 41.26})]).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "method", lines[1], "VICReg", "SIE", lines[1], "constant predictor", "chance",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    assert "41.3" in lines[3] and "41.3" not in lines[2]
    assert lines[5].split()[2:] == ["16.0", "–", "60.4", "–", "52.0", "0.000", "0.580"]
    assert lines[6].split()[1] == "10.0"


def test_two_runs_of_one_method_are_told_apart() -> None:
    assert names([result("SIE", run="a"), result("SIE", run="b")]) == ["SIE (a)", "SIE (b)"]
    named = [result("SIE", label="long"), result("SIE", label="long", name="folder")]
    assert names(named) == ["long", "folder"]


def test_each_store_has_its_own_trivial_predictors() -> None:
    table = baselines([result("SIE"), result("VICReg", store="t.h5")])
    assert [row.name for row in table] == [
        "constant predictor (s.h5)", "chance (s.h5)", "constant predictor (t.h5)", "chance (t.h5)",
    ]  # fmt: skip
    assert all(row.baseline and len(row.values) == len(COLUMNS) for row in table)


def test_a_baseline_of_each_run_is_one_row_where_runs_agree() -> None:
    key = [Column("copy", "copy")]
    same = distinct_rows("copy", [result("SIE", copy=1.0), result("VICReg", copy=1.0)], key)
    assert [(row.name, row.values) for row in same] == [("copy", (1.0,))]
    differ = distinct_rows("copy", [result("SIE", copy=1.0), result("VICReg", copy=2.0)], key)
    assert [row.name for row in differ] == ["copy (SIE)", "copy (VICReg)"]
    assert distinct_rows("copy", [result("SIE")], key) == []


def test_numbers_of_any_size_have_significant_digits() -> None:
    column = Column("MSE", "mse", digits=3, significant=True)
    shown = [cell(value, column) for value in (0.01844, 0.5, 1.038, 123.4, 1.234e-07, 0.0)]
    assert shown == ["0.0184", "0.500", "1.04", "123", "1.23e-07", "0.00"]
    assert [cell(value, column) for value in (None, math.nan, "G-RNN")] == ["–", "–", "G-RNN"]
    pairs = [(0.00103, 0.0184), (0.5, 123.0), (1e-8, 1.2e-7), (0.1, 0.0), (None, 1.0), (0.1, "G-RNN")]
    assert [error_text(error, value, column) for error, value in pairs] == ["0.0010", "0", "1e-08", "0.10", "", ""]
    assert (cell(739_584, Column("n", "n", digits=0)), error_text(2.0, 739_584, Column("n", "n", digits=1))) == (
        "739,584", "2.0",
    )  # fmt: skip


def test_the_best_of_a_column_is_one_of_several_learned_rows() -> None:
    columns = (Column("up", "up", best="max"), Column("down", "down", best="min"), Column("none", "none"))
    rows = [Row("a", (1.0, 2.0, 3.0)), Row("b", (2.0, None, 4.0)), Row("base", (9.0, 0.0, 9.0), baseline=True)]
    table = Table(columns, tuple(rows))
    assert [[found.best for found in table.cells(row)] for row in rows] == [
        [False, False, False], [True, False, False], [False, False, False],
    ]  # fmt: skip
    alone = build_table([result("SIE")], COLUMNS)
    assert not any(found.best for found in alone.cells(alone.rows[0]))


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        format_table([])
    incomplete = result("SIE")
    del incomplete["rotation/mean_deg/constant"]
    with pytest.raises(ValueError, match="constant"):
        format_table([incomplete])


def test_runs_of_several_kinds_are_named_with_their_kinds() -> None:
    with pytest.raises(ValueError, match=r"expected runs of one kind, got SIE \(views\), STRL \(drives\)"):
        format_table([result("SIE"), {**result("STRL"), "kind": "drives"}])
    old = result("SIE")
    del old["kind"]
    with pytest.raises(ValueError, match="expected 'kind' in the results of sie, it is missing"):
        format_table([old])
