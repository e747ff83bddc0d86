"""Contrastive attraction and repulsion against golden values and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equissl.losses.cacr import attraction, cacr, repulsion


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


Z = torch.stack((on_circle(0, 90, 200), on_circle(20, 70, 230), on_circle(10, 100, 215)), dim=1)


def test_golden_values() -> None:
    assert attraction(Z, 1.0).item() == pytest.approx(0.1166704934, abs=1e-9)
    assert repulsion(Z, 1.0).item() == pytest.approx(-2.2458299855, abs=1e-9)
    assert cacr(Z, 1.0, 1.0, alpha=2, beta=3).item() == pytest.approx(2 * 0.1166704934 - 3 * 2.2458299855, abs=1e-8)


def test_closed_forms() -> None:
    eye = torch.eye(5, dtype=torch.float64)[:, None].expand(5, 3, 5)
    assert attraction(eye).item() == pytest.approx(0, abs=1e-12)
    assert repulsion(eye).item() == pytest.approx(-2)
    assert cacr(torch.ones(5, 3, 4)).item() == pytest.approx(0, abs=1e-5)


def test_equal_weights_give_means() -> None:
    distances = (Z[:, :, None] - Z[:, None]).square().sum(-1)
    assert attraction(Z, 0.0).item() == pytest.approx(distances.sum().item() / (3 * 6))
    cross = (Z[:, None, 0] - Z[None, :, 1]).square().sum(-1)
    mean = (cross.sum() - cross.diagonal().sum()) / 6
    assert repulsion(Z[:, :2], 0.0).item() == pytest.approx(-mean.item())
    pair = (Z[:, 0] - Z[:, 1]).square().sum(-1).mean().item()
    assert attraction(Z[:, :2], 3.0).item() == pytest.approx(pair)  # a single positive has weight 1


def test_sharper_weights_prefer_far_positives_and_near_negatives() -> None:
    assert attraction(Z, 0.0) < attraction(Z, 1.0) < attraction(Z, 5.0)
    assert repulsion(Z, 0.0) < repulsion(Z, 1.0) < repulsion(Z, 5.0)


def test_detached_weights_change_the_gradient_only() -> None:
    z = Z.clone().requires_grad_()
    free, fixed = cacr(z), cacr(z, detach_weights=True)
    assert free.item() == fixed.item()
    gradients = [torch.autograd.grad(loss, z)[0] for loss in (free, fixed)]
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3
