"""Barlow Twins against closed forms and lightly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.losses.barlow_twins import barlow_twins

HADAMARD = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def views(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1)


def test_closed_forms() -> None:
    assert barlow_twins(views(HADAMARD, HADAMARD)).item() == pytest.approx(0, abs=1e-9)
    assert barlow_twins(views(HADAMARD, -HADAMARD)).item() == pytest.approx(4 * 3, rel=1e-4)
    same = HADAMARD[:, :1].expand(4, 5)
    assert barlow_twins(views(same, same), redundancy=0.01).item() == pytest.approx(0.01 * 5 * 4, rel=1e-4)
    assert barlow_twins(torch.full((6, 2, 7), 3.0)).item() == pytest.approx(7)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    z = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = lightly.BarlowTwinsLoss(lambda_param=0.0051)(z[:, 0], z[:, 1])  # its own default is 0.005
    assert barlow_twins(z).item() == pytest.approx(oracle.item(), rel=1e-6)


def test_positive_affine_maps_of_dimensions_do_not_matter() -> None:
    z = torch.randn(16, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = z * torch.tensor([[0.5, 2, 3, 1], [1, 4, 0.7, 2]]) + torch.tensor([[5.0, -1, 0, 2], [0, 1, 2, 3]])
    assert barlow_twins(moved, eps=1e-14).item() == pytest.approx(barlow_twins(z, eps=1e-14).item(), rel=1e-9)
    flipped = z * torch.tensor([[-1.0, 1, 1, 1], [1, 1, 1, 1]])
    assert barlow_twins(flipped).item() != pytest.approx(barlow_twins(z).item(), rel=1e-3)
