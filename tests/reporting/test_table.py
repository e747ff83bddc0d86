"""The plain-text table."""

from __future__ import annotations

import pytest

from equissl.reporting.table import COLUMNS, format_table, rows


def result(method: str, **scores: float) -> dict:
    base = {
        "method": method, "run": method.lower(), "store": "s.h5",
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
    assert [row.name for row in rows([result("SIE", run="a"), result("SIE", run="b")])][:2] == ["SIE (a)", "SIE (b)"]


def test_each_store_has_its_own_trivial_predictors() -> None:
    table = rows([result("SIE"), result("VICReg", store="t.h5")])
    assert [row.name for row in table if row.baseline] == [
        "constant predictor (s.h5)", "chance (s.h5)", "constant predictor (t.h5)", "chance (t.h5)",
    ]  # fmt: skip
    assert all(len(row.values) == len(COLUMNS) for row in table)


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        format_table([])
    incomplete = result("SIE")
    del incomplete["rotation/mean_deg/constant"]
    with pytest.raises(ValueError, match="constant"):
        format_table([incomplete])
