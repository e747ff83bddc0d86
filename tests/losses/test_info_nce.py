"""InfoNCE against closed forms, SciPy and lightly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from equissl.losses import info_nce

N = torch.arange(24, dtype=torch.float64).reshape(4, 6)
X, Y = torch.sin(1 + N), torch.cos(0.5 * N)


def naive(x: np.ndarray, y: np.ndarray, temperature: float) -> float:
    """Row by row, with explicit lists of candidates."""
    rows = [row / np.linalg.norm(row) for row in (*x, *y)]
    losses = []
    for i, row in enumerate(rows):
        scores = {j: row @ other / temperature for j, other in enumerate(rows) if j != i}
        losses.append(logsumexp(list(scores.values())) - scores[(i + len(x)) % len(rows)])
    return float(np.mean(losses))


def test_golden_value() -> None:
    assert info_nce(X, Y).item() == pytest.approx(10.080289, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_matches_the_definition_row_by_row(temperature: float) -> None:
    expected = naive(X.numpy(), Y.numpy(), temperature)
    assert info_nce(X, Y, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    oracle = lightly.NTXentLoss(temperature=0.2)(X.float(), Y.float()).item()
    assert info_nce(X.float(), Y.float(), 0.2).item() == pytest.approx(oracle, rel=1e-5)


def test_limits() -> None:
    same = torch.ones(4, 6)
    assert info_nce(same, 3 * same).item() == pytest.approx(math.log(7), abs=1e-6)
    identity = torch.eye(4, dtype=torch.float64)
    assert info_nce(identity, identity).item() == pytest.approx(math.log1p(6 * math.exp(-10)), rel=1e-9)
    assert info_nce(identity.float(), identity.float()).item() == pytest.approx(2.7248e-4, rel=1e-3)


def test_symmetries() -> None:
    order = torch.tensor([2, 0, 3, 1])
    value = info_nce(X, Y).item()
    assert info_nce(Y, X).item() == pytest.approx(value, rel=1e-12)
    assert info_nce(X[order], Y[order]).item() == pytest.approx(value, rel=1e-12)
    assert info_nce(7 * X, 0.01 * Y).item() == pytest.approx(value, rel=1e-12)
    assert info_nce(X, Y[order]).item() != pytest.approx(value, rel=1e-3)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(info_nce, (X.clone().requires_grad_(), Y.clone().requires_grad_()))


def test_zero_embeddings_are_finite() -> None:
    x = torch.zeros(4, 6, requires_grad=True)
    value = info_nce(x, x)
    value.backward()
    assert value.item() == pytest.approx(math.log(7), abs=1e-6)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    x, y = X.to(dtype), Y.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = info_nce(x, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, info_nce(x.float(), y.float()), rtol=1e-6, atol=0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="InfoNCE needs a batch of at least 2 samples, got 1"):
        info_nce(X[:1], Y[:1])
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(3, 6\)"):
        info_nce(X, Y[:3])
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        info_nce(X, Y, temperature=0)
