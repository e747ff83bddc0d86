"""The benchmark of recurrent networks: every task at its smallest, and what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from equissl.bench.fernn import TASKS, bench_fernn, differences, last_loss, ratios, steps_to
from equissl.runs.configfile import build_method, load_config


@pytest.mark.parametrize("task", TASKS)
def test_networks_of_a_task_differ_in_velocities_alone(task: str) -> None:
    recipe = load_config(TASKS[task].recipe).method
    networks = [build_method(load_config(TASKS[task].recipe, [f"--method.radius={r}"]).method) for r in (1, 0)]
    assert recipe.init_args["videos"]["held_out"]
    first, second = ({name: p.shape for name, p in network.named_parameters()} for network in networks)
    assert first == second


def test_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected task translation, rotation, classification, got 'scaling'"):
        bench_fernn(tmp_path, tmp_path, task="scaling")


def test_comparisons() -> None:
    curve = [(1, 5.0), (20, 3.0), (40, 2.0), (60, 2.5)]
    assert steps_to(curve, 3.0) == 20 and steps_to(curve, 1.0) is None
    assert last_loss(curve) == 2.5 and last_loss([(k, float(k)) for k in range(20)]) == 18.5
    assert ratios([16.0], [2.0]) == "8 (8)"
    # logarithms log 4 ∓ log 2: mean log 4, standard error log 2
    assert ratios([2.0, 8.0], [1.0, 1.0]) == "4 ×/÷ 2 (2, 8)"
    assert differences([5.0, 8.0], [4.0, 5.0]) == "+2.0 ± 1.0 (+1.0, +3.0)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "compared"), [("rotation", "G-RNN / V_2 next MSE"), ("classification", "V_1 - G-RNN top-1 %")]
)
def test_every_measure_of_a_task(shared: Path, tmp_path: Path, task: str, compared: str) -> None:
    found = bench_fernn(shared / "data" / "mnist_t10k", tmp_path, task=task, first=1, steps=2, videos=4)
    radius = load_config(TASKS[task].recipe).method.init_args["radius"]
    assert [folder.name for folder in (tmp_path / f"radius{radius}").iterdir()] == ["seed1"]
    for measure in TASKS[task].measures:
        assert [len(found[f"V_{r} {measure}"].numbers) for r in (radius, 0)] == [1, 1]
    assert found["V_0 loss"].numbers["step"] == [1, 2]
    assert len(found[compared].numbers) == 1
