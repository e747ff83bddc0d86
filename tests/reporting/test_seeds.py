"""Seeds of one run become one row: numpy is the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equissl.reporting import format_table
from equissl.reporting.page import spread
from equissl.reporting.runs import load_runs
from equissl.reporting.seeds import SPREAD, merge_seeds
from equissl.reporting.table import build_table
from equissl.reporting.views.table import COLUMNS

TOP1, DEGREES = [0.31, 0.35, 0.42], [40.25, 38.5, 44.0]


def results(seed: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "views", "method": "SIE", "run": f"seed{seed}", "store": "views.h5", "seed": seed, "classes": 12,
        "classification/all/top1": TOP1[seed], "classification/all/top1_se": 0.5,
        "rotation/mean_deg/all": DEGREES[seed],
        "rotation/mean_deg/constant": 58.0, "classification/majority": 0.1, "classification/chance": 1 / 12, **changes,
    }  # fmt: skip


def write(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content))
    np.savez(folder / "eval.npz", all=np.full(3, content["seed"]))
    return folder


def test_means_and_standard_deviations(tmp_path: Path) -> None:
    folders = [write(tmp_path / "sie" / f"seed{s}", results(s)) for s in range(3)]
    alone = write(tmp_path / "other", results(0, method="VICReg", run="other"))
    runs = load_runs([folders[0], alone, *folders[1:]])
    assert [run.name for run in runs] == ["sie", "VICReg"]
    merged = runs[0].results
    assert merged["classification/all/top1"] == pytest.approx(np.mean(TOP1))
    assert merged[SPREAD + "classification/all/top1"] == pytest.approx(np.std(TOP1, ddof=1))
    assert (merged["classes"], merged["seeds"], merged["seed"]) == (12, 3, [0, 1, 2])
    assert runs[0].errors["all"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    line = format_table([run.results for run in runs]).splitlines()[2]
    assert f"{100 * np.mean(TOP1):.1f} ± {100 * np.std(TOP1, ddof=1):.1f}" in line
    assert f"{np.mean(DEGREES):.1f} ± {np.std(DEGREES, ddof=1):.1f}" in line


def test_the_page_says_what_the_spread_is(tmp_path: Path) -> None:
    def said(*folders: Path) -> str:
        runs = load_runs(folders)
        return spread(runs, build_table([run.results for run in runs], COLUMNS).rows)

    seeds = [write(tmp_path / "sie" / f"seed{s}", results(s)) for s in range(2)]
    alone = write(tmp_path / "alone", results(0))
    assert said(*seeds) == "± is one standard deviation over seeds where a row has several."
    assert said(alone) == "± is one standard error over unseen data."
    assert said(*seeds, alone).endswith("where a row has several; elsewhere, one standard error over unseen data.")
    bare = results(0)
    del bare["classification/all/top1_se"]
    assert said(write(tmp_path / "bare", bare)) == ""


def test_one_seed_has_the_name_of_the_run_and_no_deviation(tmp_path: Path) -> None:
    (run,) = load_runs([write(tmp_path / "sie" / "seed2", results(2))])
    assert run.name == "sie" and "±" not in format_table([run.results])


def test_runs_that_do_not_belong_together_are_named() -> None:
    with pytest.raises(ValueError, match=r"runs of one method in x, got \['SIE', 'VICReg'\]"):
        merge_seeds([results(0), results(1, method="VICReg")], "x")
    with pytest.raises(ValueError, match=r"runs of one kind in x, got \['drives', 'views'\]"):
        merge_seeds([results(0), results(1, kind="drives")], "x")
    with pytest.raises(ValueError, match=r"different seeds in x, got \[1, 1\]"):
        merge_seeds([results(1), results(1)], "x")
