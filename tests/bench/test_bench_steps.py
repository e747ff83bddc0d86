"""The benchmark of training steps: systems and baselines on data of its own, and nothing left behind."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from equissl.bench import steps
from equissl.bench.steps import bench_steps
from equissl.bench.systems import SYSTEMS, MadeData, make_data
from equissl.util.recipes import find_config

SMALL = MadeData(images=40, image_size=32, objects=16, view_size=16, users=40, items=20)


def test_ratios_are_of_pairs_of_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "make_data", lambda folder, made: make_data(folder, SMALL))
    found = bench_steps(["core_tuning"], steps=1, rounds=3, warmup=0, batch_size=4, folder=tmp_path)
    assert list(found) == ["core_tuning", "core_tuning / fine_tuning", "core_tuning / linear_probe"]
    own, probe = found["core_tuning"].numbers, found["core_tuning / linear_probe"].numbers
    assert own["batch_size"] == 4 and "ratio" not in own
    pairs = [a / b for a, b in zip(own["seconds"], probe["seconds"], strict=True)]
    assert len(pairs) == 3 and probe["ratios"] == pytest.approx(pairs)
    assert probe["ratio"] == pytest.approx(statistics.median(pairs))
    assert all(0 < read < whole for read, whole in zip(own["reading"], own["seconds"], strict=True))
    # a frozen encoder keeps no activations for a backward pass
    assert probe["memory_ratio"] == pytest.approx(own["mebibytes"] / probe["mebibytes"]) and probe["memory_ratio"] > 1.5
    assert f"ratio {probe['ratio']:.2f} (" in found["core_tuning / linear_probe"]
    assert not [*tmp_path.iterdir()]


def test_every_system_has_recipes_that_are_packaged() -> None:
    for system in SYSTEMS.values():
        assert all(find_config(name).is_file() for name in (system.recipe, *system.baselines))


def test_unknown_systems_and_no_steps_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected systems among adainf, .*, got hydro \(did you mean 'hydra'"):
        bench_steps(["hydro"])
    with pytest.raises(ValueError, match="at least 1 step and 1 round, and warmup >= 0, got 0, 5 and 2"):
        bench_steps(steps=0)
