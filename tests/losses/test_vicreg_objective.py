"""The composed VICReg objective against closed forms and lightly."""

from __future__ import annotations

import pytest
import torch

from equissl.losses.vicreg_objective import vicreg

HADAMARD = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def test_closed_forms() -> None:
    assert vicreg(HADAMARD[:, None].expand(4, 3, 3)).item() == 0
    assert vicreg(torch.full((6, 2, 5), 3.0)).item() == pytest.approx(24.75, rel=1e-6)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    z = 0.6 * torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert vicreg(z).item() == pytest.approx(lightly.VICRegLoss()(z[:, 0], z[:, 1]).item(), rel=1e-6)
    oracle = lightly.VICRegLoss(lambda_param=3.0, mu_param=5.0, nu_param=2.0)(z[:, 0], z[:, 1])
    assert vicreg(z, sim=3, std=5, cov=2).item() == pytest.approx(oracle.item(), rel=1e-6)


def test_a_common_shift_does_not_matter() -> None:
    z = torch.randn(9, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert vicreg(z + torch.arange(4.0)).item() == pytest.approx(vicreg(z).item(), rel=1e-10)
