"""Imitations of published checkpoints: the authors' names and shapes, other values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_store import write_synthetic_store
from torch import Tensor

Imitate = Callable[..., dict[str, Tensor]]


def imitation(tsv: Path, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by the names and shapes of a table; what nobody reads takes no room."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for line in tsv.read_text().splitlines()[1:]:
        key, shape, kind = line.split("\t")
        sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        weights[key] = _values(key, sizes, getattr(torch, kind), generator)
    return weights


def _values(key: str, sizes: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if not dtype.is_floating_point:
        return torch.full(sizes, 7, dtype=dtype)
    if key.startswith("evaluator."):
        return torch.zeros(1, dtype=dtype).expand(*sizes)
    if key.endswith("running_var") or (len(sizes) == 1 and key.endswith("weight")):
        return 0.5 + torch.rand(sizes, generator=generator, dtype=dtype)
    fan = sizes[-1] if len(sizes) == 2 else 9 * sizes[1] if len(sizes) == 4 else 1
    return torch.randn(sizes, generator=generator, dtype=dtype).mul_((2 / fan) ** 0.5 if len(sizes) > 1 else 0.1)


@pytest.fixture(scope="session")
def imitate(golden: Path) -> Imitate:
    """Weights that look like the published ones of a model, by the name of its table."""
    return lambda name, seed=0: imitation(golden / f"official_keys_{name}.tsv", seed)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes weights as a training script does: wrapped, with epoch and optimiser beside them."""

    def write(weights: dict[str, Tensor], name: str = "model.pth", prefix: str = "module.", **beside: Any) -> Path:
        file = tmp_path / name
        model = {prefix + key: value for key, value in weights.items()}
        torch.save({"epoch": 2000, "model": model, "optimizer": {"state": {}}, **beside}, file)
        return file

    return write


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 objects, 4 views of 32 x 32 pixels."""
    return write_synthetic_store(tmp_path_factory.mktemp("weights") / "tiny.h5", objects=32, views=4, size=32)
