"""Two gloo processes give the loss, gradients and batch-norm statistics of one process on the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TRANSFORMERS = ("MAE", "MixedAE")  # without batch norm
WORKER = Path(__file__).with_name("gloo_worker.py")


def _run(world: int, folder: Path) -> list[dict]:
    outs = [folder / f"{world}-{rank}.pt" for rank in range(world)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(world), str(folder / f"init-{world}"), str(out)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(out) for out in outs]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    folder = tmp_path_factory.mktemp("gloo")
    return _run(1, folder)[0], _run(2, folder)


@pytest.mark.slow  # starts three processes
def test_two_processes_equal_one_on_the_joined_batch(case: str, runs: tuple[dict, list[dict]]) -> None:
    compare(case, *runs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SeqJEPA four", "GroupEquivariant three"])
def test_so_they_do_on_more_than_two_views(name: str, runs: tuple[dict, list[dict]]) -> None:
    compare(name, *runs)


def compare(case: str, one: dict, two: list[dict]) -> None:
    normed = any(key.startswith("buffer.") and key.endswith("running_var") for key in one[case])
    assert normed or case.startswith(TRANSFORMERS)
    gradients = [value for key, value in one[case].items() if key.startswith("gradient.")]
    assert sum(bool(g.abs().max() > 0) for g in gradients) > 0.9 * len(gradients)  # a test of zeros would prove nothing
    scale = max(float(g.abs().max()) for g in gradients)
    for rank in two:
        assert rank[case].keys() == one[case].keys()
        for key, expected in one[case].items():
            atol = 1e-10 * (scale if key.startswith("gradient.") else 1)
            torch.testing.assert_close(
                rank[case][key], expected, rtol=1e-8, atol=atol, msg=lambda m, k=key: f"{k}: {m}"
            )
