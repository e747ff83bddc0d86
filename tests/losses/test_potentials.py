"""Gaussian potentials against the differences of all pairs, at collapse, and in blocks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses import similarity
from equissl.losses.align_uniform import uniformity_loss
from equissl.losses.potentials import log_mean_potential, log_potentials


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_differences(x: Tensor, t: float, own: bool) -> Tensor:
    energy = -t * (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)
    if own:
        return energy.logsumexp(-1)
    away = ~torch.eye(x.shape[-2], dtype=torch.bool)
    return energy[..., away].unflatten(-1, (x.shape[-2], -1)).logsumexp(-1)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 6), (2, 3, 4, 1)])
def test_matches_the_differences_of_all_pairs(shape: tuple[int, ...], own: bool) -> None:
    x = random(*shape) + 3
    torch.testing.assert_close(log_potentials(x, 0.7, own), by_differences(x, 0.7, own), rtol=1e-12, atol=1e-12)


def test_closed_forms() -> None:
    eye = torch.eye(5, dtype=torch.float64)
    assert log_mean_potential(eye, 2.0).item() == pytest.approx(-4)
    torch.testing.assert_close(log_potentials(eye, 2.0), torch.full((5,), math.log(4) - 4, dtype=torch.float64))
    torch.testing.assert_close(
        log_potentials(eye, 2.0, own=True), torch.full((5,), math.log1p(4 * math.exp(-4))).double()
    )
    assert log_potentials(random(1, 3), 2.0).item() == -math.inf
    assert log_potentials(random(1, 3), 2.0, own=True).item() == 0


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3])
def test_accurate_at_collapse_far_from_the_origin(offset: float) -> None:
    """Without centring, squares of 1e3 leave errors of 0.1 in float32 distances."""
    x = (0.01 * random(8, 4) + offset).float()
    exact = by_differences(x.double(), 2.0, own=False)
    torch.testing.assert_close(log_potentials(x, 2.0).double(), exact, rtol=1e-6, atol=1e-6)
    collapsed = torch.full((8, 4), offset + 0.3).requires_grad_()
    value = log_mean_potential(collapsed, 2.0)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(value, collapsed)[0].abs().max() < 1e-5


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("elements", [1, 20, 70])
def test_blocks_change_neither_value_nor_gradient(own: bool, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(2, 7, 3).requires_grad_()
    expected = log_potentials(x, 0.5, own)
    gradient = torch.autograd.grad(expected.square().sum(), x)[0]
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", elements)
    value = log_potentials(x, 0.5, own)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value.square().sum(), x)[0], gradient, rtol=1e-10, atol=1e-12)


def test_blocks_keep_no_table_for_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 2000)
    saved: list[int] = []
    x = random(200, 3).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        value = log_mean_potential(x, 0.5)
    assert max(saved) <= 3 * 200 < 2000
    value.backward()
    assert x.grad is not None and x.grad.abs().max() > 0


def test_gradcheck() -> None:
    x = random(4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: log_potentials(x, 0.5), x)
    assert torch.autograd.gradcheck(lambda x: log_potentials(x, 0.5, own=True), x)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_points_show(bad: float) -> None:
    x = random(4, 3)
    x[1, 2] = bad
    assert log_mean_potential(x, 1.0).isnan() and log_potentials(x, 1.0, own=True).isnan().all()


def test_uniformity_goes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    z = random(6, 3, 4)
    expected = uniformity_loss(z)
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", 20)
    torch.testing.assert_close(uniformity_loss(z), expected, rtol=1e-12, atol=0)
