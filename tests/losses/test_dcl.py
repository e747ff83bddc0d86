"""Decoupled losses against lightly, the definition of the weights, and their relation to each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses.dcl import dcl, dclw
from equissl.losses.nt_xent import nt_xent


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weighted_one_way(a: Tensor, b: Tensor, temperature: float, sigma: float | None) -> Tensor:
    """As the paper writes it for two views: row i against all rows of both views but its own two."""
    a, b = normalize(a, dim=1), normalize(b, dim=1)
    positive = (a * b).sum(1)
    weight = 1 if sigma is None else 2 - len(a) * (positive / sigma).softmax(0)
    away = ~torch.eye(len(a), dtype=torch.bool)
    rows = [torch.cat((a[i] @ a[away[i]].T, a[i] @ b[away[i]].T)) for i in range(len(a))]
    return (torch.stack(rows) / temperature).logsumexp(1).mean() - (weight * positive).mean() / temperature


@pytest.mark.parametrize("sigma", [None, 0.3])
def test_two_views_match_the_definition(sigma: float | None) -> None:
    z = random(6, 2, 8)
    a, b = z.unbind(1)
    expected = (weighted_one_way(a, b, 0.2, sigma) + weighted_one_way(b, a, 0.2, sigma)) / 2
    value = dcl(z, 0.2) if sigma is None else dclw(z, 0.2, sigma)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_matches_lightly_in_value_and_gradient() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    z = random(16, 2, 8).requires_grad_()
    pairs = [
        (dcl(z, 0.2), lightly.DCLLoss(temperature=0.2)(z[:, 0], z[:, 1])),
        (dclw(z, 0.2, 0.5, detach_weights=True), lightly.DCLWLoss(temperature=0.2, sigma=0.5)(z[:, 0], z[:, 1])),
    ]
    for ours, oracle in pairs:
        assert ours.item() == pytest.approx(oracle.item(), rel=1e-9)
        ours_grad, oracle_grad = (torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in (ours, oracle))
        torch.testing.assert_close(ours_grad, oracle_grad, rtol=1e-6, atol=1e-9)


def test_detached_weights_change_the_gradient_only() -> None:
    z = random(6, 2, 8).requires_grad_()
    kept, detached = dclw(z, 0.2), dclw(z, 0.2, detach_weights=True)
    assert kept.item() == detached.item()
    gradients = [torch.autograd.grad(loss, z)[0] for loss in (kept, detached)]
    assert (gradients[0] - gradients[1]).norm() > 0.05 * gradients[0].norm()


def test_equal_positives_make_the_weights_one() -> None:
    z = random(6, 1, 8).expand(6, 3, 8)
    assert dclw(z, 0.2).item() == pytest.approx(dcl(z, 0.2).item(), rel=1e-12)


@pytest.mark.parametrize("views", [2, 3])
def test_decoupled_is_nt_xent_without_positives_in_the_denominator(views: int) -> None:
    z = random(6, views, 8)
    assert dcl(z, 0.2).item() == nt_xent(z, 0.2, "none").item() < nt_xent(z, 0.2, "own").item()


def test_lower_bound() -> None:
    """Negatives opposite to both views: as low as the loss can be."""
    z = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]], dtype=torch.float64).expand(2, 2, 2)
    assert dcl(z, 0.1).item() == pytest.approx(math.log(2) - 20, rel=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match="positive sigma, got 0"):
        dclw(random(4, 2, 6), sigma=0)
