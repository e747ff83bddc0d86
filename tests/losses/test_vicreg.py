"""VICReg terms against closed forms, NumPy and lightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equissl.losses import covariance_penalty, invariance, variance_hinge

N = torch.arange(24, dtype=torch.float64).reshape(4, 6)
X, Y = torch.sin(1 + N), torch.cos(0.5 * N)


def total(x: torch.Tensor, y: torch.Tensor) -> float:
    std = (variance_hinge(x) + variance_hinge(y)) / 2
    return (10 * invariance(x, y) + 10 * std + covariance_penalty(x) + covariance_penalty(y)).item()


def test_golden_values() -> None:
    assert invariance(X, Y).item() == pytest.approx(1.006229, abs=1e-6)
    assert total(X, Y) == pytest.approx(17.260397, abs=1e-5)


def test_terms_match_numpy() -> None:
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.7
    covariance = np.cov(x.numpy().T)
    off_diagonal = covariance - np.diag(np.diag(covariance))
    assert covariance_penalty(x).item() == pytest.approx((off_diagonal**2).sum() / 5, rel=1e-12)
    hinge = np.maximum(0, 1 - np.sqrt(x.numpy().std(axis=0, ddof=1) ** 2 + 1e-4)).mean()
    assert variance_hinge(x).item() == pytest.approx(hinge, rel=1e-12)
    assert variance_hinge(x, target=1.5).item() == pytest.approx(
        np.maximum(0, 1.5 - np.sqrt(x.numpy().var(axis=0, ddof=1) + 1e-4)).mean(), rel=1e-12
    )


def test_weighted_sum_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 8, generator=generator), 0.5 * torch.randn(16, 8, generator=generator)
    oracle = lightly.VICRegLoss(lambda_param=3.0, mu_param=5.0, nu_param=2.0)(x, y).item()
    ours = 3 * invariance(x, y) + 5 * (variance_hinge(x) + variance_hinge(y)) / 2
    ours = ours + 2 * (covariance_penalty(x) + covariance_penalty(y))
    assert ours.item() == pytest.approx(oracle, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_collapse_costs_exactly_the_variance_term(value: float) -> None:
    x = torch.full((4, 6), value, requires_grad=True)
    assert total(x, x) == pytest.approx(9.9, abs=1e-5)
    assert 10 * (variance_hinge(x) + variance_hinge(x) / 2).item() == pytest.approx(14.85, abs=1e-5)  # as in SIE
    (variance_hinge(x) + covariance_penalty(x)).backward()
    assert x.grad.isfinite().all()


def test_healthy_embeddings_cost_nothing() -> None:
    """Decorrelated columns with standard deviation above 1."""
    x = 2 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert variance_hinge(x).item() == 0 and covariance_penalty(x).item() == 0


def test_covariance_uses_the_actual_batch() -> None:
    """Repeating every row r times changes the divisor from B - 1 to rB - 1 and nothing else."""
    x = X.repeat(3, 1)
    assert covariance_penalty(x).item() == pytest.approx(covariance_penalty(X).item() * (3 * 3 / 11) ** 2, rel=1e-12)


@pytest.mark.parametrize("function", [variance_hinge, covariance_penalty])
def test_gradcheck(function) -> None:
    x = (0.3 * X).requires_grad_()
    assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    """Squares of covariances of a few thousand overflow float16."""
    x = (100 * X).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = covariance_penalty(x) + variance_hinge(x) + invariance(x, x + 1)
    wide = x.detach().float()
    expected = covariance_penalty(wide) + variance_hinge(wide) + invariance(wide, (x.detach() + 1).float())
    assert value.dtype == torch.float32 and expected > 65504
    torch.testing.assert_close(value.detach(), expected, rtol=1e-6, atol=0)
    (value / value.detach()).backward()
    assert x.grad.dtype == dtype and x.grad.isfinite().all()


@pytest.mark.parametrize("function", [variance_hinge, covariance_penalty])
def test_a_batch_of_one_is_an_error(function) -> None:
    with pytest.raises(ValueError, match=r"at least 2 samples, got 1 \(shape \(1, 6\)\)"):
        function(X[:1])
    with pytest.raises(ValueError, match=r"shape \(B, D\), got \(2, 2, 6\)"):
        function(X.reshape(2, 2, 6))


def test_invariance_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(1, 6\)"):
        invariance(X, Y[:1])
