"""Alignment and uniformity against closed forms and lightly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.losses.align_uniform import align_uniform, alignment_loss, uniformity_loss


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


A, B = on_circle(0, 90, 200), on_circle(20, 70, 230)


def twice(x: Tensor) -> Tensor:
    return torch.stack((x, x), dim=1)


def test_golden_values() -> None:
    assert alignment_loss(torch.stack((A, B), dim=1)).item() == pytest.approx(0.1697262364, abs=1e-9)
    assert uniformity_loss(twice(A)).item() == pytest.approx(-4.8533882723, abs=1e-9)


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_closed_forms(t: float) -> None:
    eye = torch.eye(5, dtype=torch.float64)
    assert uniformity_loss(twice(eye), t).item() == pytest.approx(-2 * t)
    assert uniformity_loss(twice(eye - 0.2), t).item() == pytest.approx(-2 * t * 5 / 4)  # simplex
    assert uniformity_loss(twice(on_circle(10, 190)), t).item() == pytest.approx(-4 * t)
    assert uniformity_loss(torch.ones(5, 2, 3), t).item() == pytest.approx(0, abs=1e-5)
    assert alignment_loss(torch.ones(5, 2, 3)).item() == 0


def test_alignment_is_two_minus_two_cosines_and_takes_powers() -> None:
    z = torch.stack((3 * A, B), dim=1)
    cosine = torch.nn.functional.cosine_similarity(A, B).mean().item()
    assert alignment_loss(z).item() == pytest.approx(2 - 2 * cosine)
    assert alignment_loss(z, alpha=1.0).item() == pytest.approx((A - B).norm(dim=1).mean().item())
    same = twice(A).requires_grad_()
    alignment_loss(same, alpha=1.0).backward()
    assert same.grad.isfinite().all()
    with pytest.raises(ValueError, match=r"alpha >= 1 and t > 0, got alpha 0\.5"):
        alignment_loss(z, alpha=0.5)
    with pytest.raises(ValueError, match=r"got alpha 1\.0 and t 0"):
        uniformity_loss(z, t=0)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss.hypersphere_loss", reason="lightly is only an oracle")
    z = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = lightly.HypersphereLoss(t=2.0, lam=0.7, alpha=3.0)(z[:, 0], z[:, 1])  # its own default is t = 1
    assert align_uniform(z, weight=0.7, alpha=3.0, t=2.0).item() == pytest.approx(oracle.item(), rel=1e-6)
