"""Fixtures shared by all tests."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).parent))  # tests import `synthetic_store` by name


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One thread per process: parallel test workers must not fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """A folder of samples of published data sets beside the checkout; tests that read it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs samples of published data sets in {folder}, which are not part of this repository")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden values; its README says how they were made."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def fill_by_rule() -> Callable[[nn.Module], None]:
    """Gives every parameter a value by its place in the state dict and its name, as the golden outputs were made."""

    def fill(module: nn.Module) -> None:
        tensors = [(k, v) for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")]
        for i, (key, value) in enumerate(tensors):
            n = torch.arange(value.numel(), dtype=torch.float64)
            value.copy_(_golden_value(key, value, i, n).view_as(value))

    return fill


def _golden_value(key: str, value: torch.Tensor, i: int, n: torch.Tensor) -> torch.Tensor:
    if key.endswith("running_mean"):
        return 0.05 * torch.sin(n + i)
    if key.endswith("running_var"):
        return 1 + 0.2 * torch.cos(n + i)
    if key.startswith("fc."):  # the capsule projector's self-routing layer
        return torch.sin(0.37 * i + 1.7 * n)
    if value.ndim >= 2:
        return math.sqrt(2 / value[0].numel()) * torch.sin(0.37 * i + 1.7 * n)
    if key.endswith("weight"):
        return 1 + 0.1 * torch.sin(n + i)
    return 0.1 * torch.cos(n + i)


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """``two_processes(__file__)``: what the file's ``worker(rank, world)`` returns in each of two processes."""

    def run(file: str) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("gloo")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(Path(__file__).with_name("gloo_process.py")), file, str(folder), "2"]
        processes = [
            subprocess.Popen(
                [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            )
            for rank in range(2)
        ]
        try:
            for process in processes:
                output, _ = process.communicate(timeout=120)
                assert process.returncode == 0, output
        finally:
            for process in processes:
                process.kill()
        return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]

    return run
