"""The benchmark of methods: recipes of one budget, seeds as one row, resumable; and the study's cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from equissl.bench.actions import PREDICTING, SETTINGS, _line, bench_actions, fits
from equissl.bench.methods import bench_methods, benchmark_methods, benchmark_run
from equissl.bench.study import bench_study, cells
from equissl.datasets.views.build.builder import BuildSpec, build_views
from equissl.predictors import MLPPredictor
from equissl.runs.checkpoint import load_method
from equissl.runs.configfile import build_method, load_config
from equissl.runs.results import read_results


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "views.h5"
    spec = BuildSpec("procedural", objects=40, views=4, size=64, encoding="raw", val_fraction=0.5)
    build_views(spec, path, workers=1, progress=False)
    return path


@pytest.mark.parametrize("name", benchmark_methods())
def test_recipes_share_encoder_data_and_length(name: str) -> None:
    config, reference = load_config(f"benchmark/{name}"), load_config("benchmark/vicreg")
    views = config.method.init_args.get("views", 2)
    data = replace(config.data, batch_size=config.data.batch_size * views // 2)  # as many views in a step
    assert (data, config.optim, config.trainer) == (reference.data, reference.optim, reference.trainer)
    encoder = build_method(config.method).encoder
    expected = build_method(reference.method).encoder
    assert [p.shape for p in encoder.parameters()] == [p.shape for p in expected.parameters()]


def test_methods_of_more_views_get_fewer_objects(tmp_path: Path) -> None:
    for name, objects in (("vicreg", 128), ("irrep_dhel", 64)):
        flags = benchmark_run(name, 0, tmp_path, tmp_path / "views.h5", (400, 128, 10)).stages["pretrain"]
        assert f"--data.batch_size={objects}" in flags


@pytest.mark.slow
def test_table_of_two_seeds_and_nothing_runs_twice(store: Path, tmp_path: Path) -> None:
    arguments = {"methods": ["vicreg", "sie"], "seeds": 2, "steps": 2, "probe_steps": 2}
    with pytest.raises(Exception, match="batch"):  # 128 objects are not there: said by the run, passed on
        bench_methods(store, tmp_path / "large", **arguments)
    found = bench_methods(store, tmp_path, batch_size=4, reference="vicreg", **arguments)
    assert Path(found["report"]).is_file()
    rows = [line for line in found["table"].splitlines() if line.startswith(("vicreg ", "sie "))]
    assert len(rows) == 2 and all("±" in row for row in rows)
    errors = {n: [_mean_error(tmp_path / n / f"seed{k}") for k in (0, 1)] for n in ("vicreg", "sie")}
    pairs = [a - b for a, b in zip(errors["sie"], errors["vicreg"], strict=True)]
    assert found["sie - vicreg"].numbers["rotation °"] == pytest.approx(pairs)
    expected = f"rotation ° {sum(pairs) / 2:+.1f} ± {abs(pairs[0] - pairs[1]) / 2:.1f}"  # of two: half their distance
    assert found["sie - vicreg"].startswith(expected)
    marks = {run: (run / "results.json").stat().st_mtime_ns for run in tmp_path.glob("*/seed*")}
    assert len(marks) == 4
    bench_methods(store, tmp_path, batch_size=4, **arguments)
    assert all((run / "results.json").stat().st_mtime_ns == mark for run, mark in marks.items())


def _mean_error(run: Path) -> float:
    return read_results(run)["rotation/mean_deg/all"]


def test_unknown_methods_and_no_seeds_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected methods among .*equicaps.*, got oracle"):
        bench_methods("views.h5", tmp_path, methods=["oracle"])
    with pytest.raises(ValueError, match=r"expected reference among sie, got vicreg"):
        bench_methods("views.h5", tmp_path, methods=["sie"], reference="vicreg")
    with pytest.raises(ValueError, match=r"at least 1 seed, got \d+ settings and 0 seeds"):
        bench_methods("views.h5", tmp_path, seeds=0)


def test_every_setting_of_the_actions_runs(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected some of .*whitened.*, got white"):
        bench_actions(store, tmp_path, settings=["white"])
    budget = {"seeds": 1, "first": 3, "steps": 2, "probe_steps": 2, "batch_size": 4}
    settings = ["published", "whitened_identity"]
    found = bench_actions(store, tmp_path, ["sen", "conditional_byol"], settings, ["vicreg"], **budget)
    assert list(found)[:4] == ["sen-published", "sen-whitened_identity", "conditional_byol-published", "vicreg"]
    assert "wrong / right action" in found["sen-published"] and Path(found["report"]).is_file()
    assert "shortcut share 1 (1)" in found["sen-whitened_identity"]
    assert "shortcut share 0 (0)" in found["conditional_byol-published"] and "action" not in found["vicreg"]
    trained, config = load_method(tmp_path / "sen-whitened_identity" / "seed3")
    assert trained.action.whiten and trained.predictor.init == "identity" and config.seed == 3


def test_difference_to_the_published_setting_is_paired_by_seed() -> None:
    columns = {"rotation °": [30.0, 33.0, 30.0], "shortcut share": [1.0, 1.0, 1.0]}
    published = {"rotation °": [40.0, 45.0, 41.0], "shortcut share": [0.1, 0.1, 0.1]}
    # differences -10, -12, -11: mean -11, standard deviation 1, standard error 1 / sqrt 3
    assert _line(columns, published) == "rotation ° 31 (30, 33, 30) -11 ± 0.58, shortcut share 1 (1, 1, 1)"
    assert "±" not in _line(columns, None) + _line(published, published)
    assert _line({"rotation °": [30.0]}, {"rotation °": [40.0]}) == "rotation ° 30 (30) -10"


@pytest.mark.parametrize("method", PREDICTING)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_method_takes_every_setting_that_fits(method: str, setting: str) -> None:
    words = [word for pair in SETTINGS[setting].items() for word in pair]
    if not fits(method, setting):
        assert isinstance(build_method(load_config(f"benchmark/{method}").method).predictor, MLPPredictor)
        return
    built = build_method(load_config(f"benchmark/{method}", words).method)
    assert built.action.whiten is ("whiten" in setting or "wigner" in setting)


def test_size_of_images_is_the_store_s(store: Path, tmp_path: Path) -> None:
    flags = {name: benchmark_run(name, 0, tmp_path, store, (2, 4, 2)).stages["pretrain"] for name in ("capsie", "sie")}
    assert "--method.init_args.image_size=64" in flags["capsie"]
    assert not any("image_size" in word for word in flags["sie"])


def test_study_cells_differ_in_one_thing() -> None:
    for study, key in (("views", "views"), ("batch", "batch"), ("temperature", "options")):
        found = cells(study)
        assert len({cell.name for cell in found}) == len(found)
        others = [k for k in ("views", "batch", "options") if k != key]
        same = {(c.objective, *(getattr(c, k) for k in others)) for c in found}
        assert len(same) == len({cell.objective for cell in found})


@pytest.mark.slow
def test_study_scores_runs(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [cell for cell in cells("batch") if cell.batch == 32][:1]
    monkeypatch.setattr("equissl.bench.study.cells", lambda study: [type(c)(**{**vars(c), "batch": 4}) for c in small])
    found = bench_study(store, tmp_path, ["batch"], seeds=2, instances=8, width=4)
    (line,) = found.values()
    top1 = float(line.split("top1 ")[1].split(" ")[0])
    assert 0 <= top1 <= 1 and "rankme_embedding" in line
