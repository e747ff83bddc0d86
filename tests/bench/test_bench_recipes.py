"""The benchmark of recipes: paired differences from the first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from equissl.bench.recipes import bench_recipes
from tests.bench.test_bench_images import write_images


def test_two_recipes_of_one_name_and_flags_without_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected recipes of different names, got a, a"):
        bench_recipes(["a", str(tmp_path / "a.yaml")], tmp_path)
    with pytest.raises(ValueError, match="expected flags as --name=value, got --seed"):
        bench_recipes(["cifar10_simclr"], tmp_path, train=["--seed"])


@pytest.mark.slow
def test_difference_from_the_first(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    own = tmp_path / "narrow.yaml"
    own.write_text("base: cifar10_simclr\nmethod: {init_args: {projector: [8]}}\n")
    arguments = {"seeds": 2, "steps": 2, "evaluate": ["--neighbours=[5]", "--linear.epochs=2"], "parallel": 2}
    found = bench_recipes(["cifar10_simclr", str(own)], images, ["knn/all/top1"], tmp_path / "out", **arguments)
    base, narrow = (found[f"{name} knn/all/top1"].numbers for name in ("cifar10_simclr", "narrow"))
    pairs = [a - b for a, b in zip(narrow["values"], base["values"], strict=True)]
    assert len(pairs) == 2 and narrow["difference"] == pytest.approx(sum(pairs) / 2) and "difference" not in base
    assert narrow["difference_se"] == pytest.approx(abs(pairs[0] - pairs[1]) / 2)
    assert re.search(r", [+-]\S+ ± \S+$", found["narrow knn/all/top1"]) and Path(found["report"]).is_file()
    with pytest.raises(ValueError, match=r"expected a number of the results, got knn/all/top2"):
        bench_recipes(["cifar10_simclr", str(own)], images, ["knn/all/top2"], tmp_path / "out", **arguments)


def test_fine_tuning_starts_from_the_run_of_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("equissl.bench.recipes.run_sweep", lambda runs, *_: started.extend(runs))
    flags = ["--init=base/seed{seed}", "--data.labels=0.1"]
    with pytest.raises(FileNotFoundError):  # there are no results, since nothing was run
        bench_recipes(["fine_tuning"], tmp_path, out=tmp_path / "out", seeds=2, train=flags, verb="finetune")
    words = [run.stages["finetune"] for run in started]
    assert ["--init=base/seed1" in words[0], "--init=base/seed2" in words[1]] == [True, True]
    assert all("--data.labels=0.1" in found for found in words)
