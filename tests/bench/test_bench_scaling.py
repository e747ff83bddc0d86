"""The scaling benchmark: points around a base, budgets of one run, a fitted price, and the figure."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from equissl.bench.scaling import GOAL, Point, ScalingTask, bench_scaling, curve, panels, points, rows_of
from equissl.bench.sweep import budget_for
from equissl.runs.checkpoint import run_config

TINY = ScalingTask("procedural", ("bed", "car", "chair"), 24, 2, 0.5, batch_size=4, probe_steps=2)


def row(point: Point, seed: int, views: int, gain: float) -> dict:
    return vars(point) | {"seed": seed, "views_seen": views, "constant": 77.0, "error": 77.0 - gain}


def test_one_thing_is_varied_at_a_time() -> None:
    base = Point(60, 100, 32)
    found = points((60, 30), (100, 50, 20), (32, 48))
    assert found[0] == base and len(found) == len(set(found)) == 1 + 1 + 2 + 1
    for point in found[1:]:
        assert sum(value != vars(base)[name] for name, value in vars(point).items()) == 1
        assert Point.named(point.name) == point
    assert Point.named("stores") is None
    with pytest.raises(ValueError, match="expected values of each"):
        points((60,), (), (32,))


def test_the_price_is_where_the_line_over_log_views_reaches_the_goal() -> None:
    assert budget_for([(1e5, 5.0), (2e5, 10.0), (4e5, 15.0)], 20) == pytest.approx(8e5)
    assert budget_for([(1e5, 5.0), (2e5, 4.0)], 20) is None and budget_for([(1e5, 5.0)], 20) is None


def test_curves_are_means_over_seeds_and_panels_share_the_base() -> None:
    wanted = points((60, 30), (100, 50), (32,))
    rows = [
        row(p, seed, views, 2.0 * seed + views / 1e5) for p in wanted for seed in (0, 1) for views in (100000, 200000)
    ]
    assert curve(rows_of(rows, wanted[0])) == [(100000, pytest.approx(2.0)), (200000, pytest.approx(3.0))]
    ranges, objects = panels(sorted(rows, key=lambda r: (r["degrees"], r["objects"])), wanted[0])
    assert [line.name for line in ranges.series] == ["±30°", "±60°", "constant predictor", f"{GOAL:g}° below it"]
    assert [line.name for line in objects.series][:2] == ["50 objects", "100 objects"]
    (alone,) = panels(rows_of(rows, wanted[0]), wanted[0])
    assert [line.name for line in alone.series][:1] == ["±60°"]


@pytest.mark.slow
def test_every_budget_of_a_run_is_scored_once(tmp_path: Path) -> None:
    arguments = {"degrees": (60, 45), "objects": (12, 8), "sizes": (32,), "task": TINY, "parallel": 1}
    with pytest.raises(ValueError, match="expected rising steps"):
        bench_scaling(tmp_path, steps=(2, 1), **arguments)
    found = bench_scaling(tmp_path, steps=(1, 2), **arguments)
    assert list(found) == ["45deg-12objects-32px", "60deg-8objects-32px", "60deg-12objects-32px", "figure"]
    ElementTree.parse(found["figure"])
    rows = json.loads((tmp_path / "scaling.json").read_text())
    assert [(r["steps"], r["views_seen"]) for r in rows] == [(1, 8), (2, 16)] * 3
    assert rows[2]["constant"] == pytest.approx(rows[4]["constant"])  # of one store, whatever was trained on
    assert run_config(tmp_path / "60deg-8objects-32px" / "seed0").data.objects == 8
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/seed0/curve/*.json")}
    more = bench_scaling(tmp_path, steps=(1, 2, 3), **arguments | {"objects": (12,)})
    assert len(before) == 6 and all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert [r["views_seen"] for r in more["45deg-12objects-32px"].numbers] == [8, 16, 24]
    assert "at 24 views" in more["60deg-12objects-32px"] and "at 24 views" not in more["60deg-8objects-32px"]
