"""NT-Xent of two views against closed forms, SciPy and lightly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from equissl.losses import nt_xent

N = torch.arange(24, dtype=torch.float64).reshape(4, 6)
X, Y = torch.sin(1 + N), torch.cos(0.5 * N)


def loss(x: torch.Tensor, y: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    return nt_xent(torch.stack((x, y), dim=1), temperature)


def naive(x: np.ndarray, y: np.ndarray, temperature: float) -> float:
    """Row by row, with explicit lists of candidates."""
    rows = [row / np.linalg.norm(row) for row in (*x, *y)]
    losses = []
    for i, row in enumerate(rows):
        scores = {j: row @ other / temperature for j, other in enumerate(rows) if j != i}
        losses.append(logsumexp(list(scores.values())) - scores[(i + len(x)) % len(rows)])
    return float(np.mean(losses))


def test_golden_value() -> None:
    assert loss(X, Y).item() == pytest.approx(10.080289, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_matches_the_definition_row_by_row(temperature: float) -> None:
    expected = naive(X.numpy(), Y.numpy(), temperature)
    assert loss(X, Y, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    oracle = lightly.NTXentLoss(temperature=0.2)(X.float(), Y.float()).item()
    assert loss(X.float(), Y.float(), 0.2).item() == pytest.approx(oracle, rel=1e-5)


def test_limits() -> None:
    same = torch.ones(4, 6)
    assert loss(same, 3 * same).item() == pytest.approx(math.log(7), abs=1e-6)
    identity = torch.eye(4, dtype=torch.float64)
    assert loss(identity, identity).item() == pytest.approx(math.log1p(6 * math.exp(-10)), rel=1e-9)
    assert loss(identity.float(), identity.float()).item() == pytest.approx(2.7248e-4, rel=1e-3)


def test_symmetries() -> None:
    order = torch.tensor([2, 0, 3, 1])
    value = loss(X, Y).item()
    assert loss(Y, X).item() == pytest.approx(value, rel=1e-12)
    assert loss(X[order], Y[order]).item() == pytest.approx(value, rel=1e-12)
    assert loss(7 * X, 0.01 * Y).item() == pytest.approx(value, rel=1e-12)
    assert loss(X, Y[order]).item() != pytest.approx(value, rel=1e-3)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(loss, (X.clone().requires_grad_(), Y.clone().requires_grad_()))


def test_zero_embeddings_are_finite() -> None:
    x = torch.zeros(4, 6, requires_grad=True)
    value = loss(x, x)
    value.backward()
    assert value.item() == pytest.approx(math.log(7), abs=1e-6)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    pair = torch.stack((X, Y), dim=1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = nt_xent(pair)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, nt_xent(pair.float()), rtol=1e-6, atol=0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="NT-Xent needs a batch of at least 2 samples, got 1"):
        loss(X[:1], Y[:1])
    with pytest.raises(ValueError, match=r"\(B, V, D\), got \(4, 6\)"):
        nt_xent(X)
    with pytest.raises(ValueError, match="positive temperature, got 0"):
        loss(X, Y, temperature=0)
