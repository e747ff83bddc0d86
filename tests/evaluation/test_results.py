"""Results belong to a run, a store and settings: nothing is overwritten by another evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equissl import cli
from equissl.bench.sweep import Run as Task
from equissl.bench.sweep import evaluated_with, trained_and_evaluated
from equissl.reporting import folders, format_table
from equissl.reporting.runs import load_runs
from equissl.runs.results import read_evaluations, read_results, result_folder, write_results

BASE = {"kind": "views", "method": "SIE", "steps": 5, "seed": 0, "classes": 4, "train_objects": 6, "val_objects": 2}


def results(store: str, run: Path, classes: int = 4, **more: Any) -> dict[str, Any]:
    scores = {"classification/all/top1": 0.5, "classification/chance": 1 / classes, "classification/majority": 0.5,
              "config/rotation/steps": 9, "config/seed": 0, "config/protocols": None}  # fmt: skip
    return {**BASE, **scores, "store": store, "run": run.name, **more}


def test_another_store_or_setting_is_kept_beside_and_an_equal_one_replaced(tmp_path: Path) -> None:
    first, other = results("a/views.h5", tmp_path), results("b/views.h5", tmp_path)
    longer = results("a/views.h5", tmp_path, **{"config/rotation/steps": 10})
    for each in (first, other, longer):
        write_results(tmp_path, each)
    assert [found.results for found in read_evaluations(tmp_path)] == [first, other, longer]
    assert read_results(tmp_path) == longer
    again = {**first, "classification/all/top1": 0.75}
    write_results(tmp_path, again)
    assert [found.results for found in read_evaluations(tmp_path)] == [other, longer, again]
    assert len({result_folder(tmp_path, each) for each in (first, other, longer)}) == 3
    assert all(folder.name.startswith("views-") for folder in (tmp_path / "results").iterdir())


def test_arrays_of_an_evaluation_stay_with_it_and_the_last_are_copied(tmp_path: Path) -> None:
    for number, store in enumerate(("a.h5", "b.h5")):
        found = results(store, tmp_path)
        folder = result_folder(tmp_path, found)
        folder.mkdir(parents=True)
        np.savez(folder / "eval.npz", all=np.full(2, number))
        write_results(tmp_path, found)
        with np.load(tmp_path / "eval.npz") as last:
            assert last["all"].tolist() == [number, number]
    assert [run.errors["all"].tolist() for run in load_runs([tmp_path])] == [[0, 0], [1, 1]]


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    odd = results("a.h5", tmp_path, nan=float("nan"), endless=float("-inf"))
    write_results(tmp_path, odd)
    assert json.loads((tmp_path / "results.json").read_text()) == {**odd, "nan": None, "endless": None}


def test_only_what_is_comparable_shares_a_table(tmp_path: Path) -> None:
    sie, vicreg = tmp_path / "sie", tmp_path / "vicreg"
    write_results(sie, results("two.h5", sie, classes=2))
    write_results(sie, results("ten.h5", sie, classes=10))
    write_results(vicreg, results("ten.h5", vicreg, classes=10, method="VICReg"))
    text = format_table([run.results for run in load_runs([sie, vicreg])])
    two, ten = text.split("\n\n")
    assert two.splitlines()[0] == "Evaluated on two.h5:" and ten.splitlines()[0] == "Evaluated on ten.h5:"
    assert "VICReg" not in two and "VICReg" in ten and two.count("chance") == ten.count("chance") == 1
    assert two.splitlines()[-1].split()[1] == "50.0" and ten.splitlines()[-1].split()[1] == "10.0"


def test_selections_of_one_evaluation_are_one_row(tmp_path: Path) -> None:
    hue = {
        "hue/r2_uniform/all": 0.4,
        "hue/mean_turns/all": 0.1,
        "config/protocols": ["hue"],
        "collapse/rankme/all": 9.0,
    }
    write_results(tmp_path, results("a.h5", tmp_path))
    write_results(tmp_path, {k: v for k, v in results("a.h5", tmp_path, **hue).items() if "classification" not in k})
    (run,) = load_runs([tmp_path])
    assert run.results["hue/r2_uniform/all"] == 0.4 and run.results["classification/all/top1"] == 0.5
    write_results(tmp_path, results("a.h5", tmp_path, **{"config/seed": 1, "classification/all/top1": 0.6}))
    write_results(tmp_path, results("a.h5", tmp_path, **{"config/rotation/steps": 10}))
    text = format_table([run.results for run in load_runs([tmp_path])])
    assert "SIE (evaluation seed 0)" in text and "SIE (evaluation seed 1)" in text
    assert "Evaluated on a.h5, rotation/steps 10:" in text


def test_folders_without_results_are_named_and_left_out(tmp_path: Path, write_left_out) -> None:
    reasons = write_left_out(tmp_path)
    good = tmp_path / "good"
    write_results(good, results("a.h5", good))
    paths = [good, *reasons]
    assert [run.folder for run in load_runs(paths)] == [good]
    with pytest.raises(FileNotFoundError) as error:
        load_runs(list(reasons))
    assert all(f"{path}: {reason}" in str(error.value) for path, reason in reasons.items())
    with pytest.raises(FileNotFoundError, match="typo, which does not exist"):
        load_runs([good, tmp_path / "typo"])


def test_a_report_reads_every_folder_once(
    tmp_path: Path, write_left_out, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = write_left_out(tmp_path)
    good = tmp_path / "good"
    write_results(good, results("a.h5", good))
    read: list[Path] = []
    monkeypatch.setattr(folders, "read_evaluations", lambda path: read.append(path) or read_evaluations(path))
    monkeypatch.setattr("equissl.reporting.report.join_pages", lambda pages, parts, left: "\n".join(left))
    monkeypatch.setattr("equissl.kinds.views.Views.page", lambda *_: "")
    page = tmp_path / "page.html"
    assert cli.main(["report", str(good), *map(str, reasons), "--out", str(page)]) == 0
    printed = capsys.readouterr()
    left = [f"{path}: {reason}" for path, reason in reasons.items()]
    assert len(read) == len(set(read)) and good in read
    assert all(any(line.startswith(f"left out: {text}") for line in printed.err.splitlines()) for text in left)
    assert len(printed.err.splitlines()) == len(left) == len(page.read_text().splitlines()) and "SIE" in printed.out


@pytest.fixture
def write_left_out():
    def write(root: Path) -> dict[Path, str]:
        failed, untested, empty, damaged, file = (
            root / name for name in ("failed", "untested", "empty", "bad", "a.h5")
        )
        for folder in (failed, untested / "checkpoints", empty, damaged):
            folder.mkdir(parents=True)
        file.write_text("x")
        (failed / "config.yaml").write_text("seed: 0")
        (untested / "checkpoints" / "last.ckpt").write_bytes(b"x")
        (damaged / "results.json").write_text("{")
        return {
            failed: "no checkpoint", untested: f"not evaluated; do it with: equissl evaluate {untested}",
            empty: "not a run folder", damaged: f"{damaged / 'results.json'}: expected the results", file: "a file",
        }  # fmt: skip

    return write


def test_sweeps_read_the_evaluation_of_their_own_flags(tmp_path: Path) -> None:
    flags = {"--rotation.steps": 9, "--protocols": "[classification, rotation]", "--probe_precision": "auto"}
    own = results("a.h5", tmp_path, **{"config/protocols": ["classification", "rotation"]})
    write_results(tmp_path, own)
    write_results(tmp_path, results("a.h5", tmp_path, **{"config/rotation/steps": 10}))
    task = trained_and_evaluated("sie", tmp_path, {}, flags)
    assert task.finished and task.results() == own
    assert not trained_and_evaluated("sie", tmp_path, {}, {"--rotation.steps": 11}).finished
    assert not evaluated_with({"store": "/a.h5"}, {"--store": "/b.h5"})
    (tmp_path / "times.json").write_text(json.dumps({"a": 1}))
    assert Task("x", tmp_path, {}, "times.json").results() == {"a": 1}
