"""Fixtures shared by all tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """One thread per process: parallel test workers must not fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that read it are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the reference data folder {folder}")
    return folder


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
