"""Whitening and W-MSE against closed forms and lightly."""

from __future__ import annotations

import pytest
import torch

from equissl.losses.w_mse import w_mse
from equissl.losses.whitening import cholesky_whiten, zca_whiten

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MIX = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
ROTATION = torch.linalg.qr(MIX).Q
Z = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("whiten", [cholesky_whiten, zca_whiten])
def test_whitened_rows_have_mean_zero_and_covariance_one(whiten) -> None:
    white = whiten(torch.stack((X @ MIX + 3, 5 * X)))
    for rows in white:
        torch.testing.assert_close(rows.mean(0), torch.zeros(4).double(), rtol=0, atol=1e-12)
        torch.testing.assert_close(rows.T.cov(), torch.eye(4).double(), rtol=1e-10, atol=1e-10)
        assert rows.square().sum(1).mean().item() == pytest.approx(4 * 11 / 12)


def test_what_each_whitening_ignores() -> None:
    triangle = MIX.tril(-1) + torch.diag(MIX.diagonal().abs() + 0.1)
    torch.testing.assert_close(cholesky_whiten(X @ triangle.T + 7), cholesky_whiten(X))
    assert not torch.allclose(cholesky_whiten(X @ ROTATION), cholesky_whiten(X), atol=0.1)
    torch.testing.assert_close(zca_whiten(X @ ROTATION), zca_whiten(X) @ ROTATION)


@pytest.mark.parametrize("whiten", [cholesky_whiten, zca_whiten])
def test_whitening_gradcheck(whiten) -> None:
    assert torch.autograd.gradcheck(lambda x: whiten(x, 0.1), X[:6].clone().requires_grad_())


@pytest.mark.parametrize("whiten", [cholesky_whiten, zca_whiten])
def test_collapse_is_an_error_or_regularised(whiten) -> None:
    for collapsed in (torch.full((8, 3), 0.1), torch.cat((X, X[:, :1]), dim=1)[:8].float(), torch.zeros(8, 3)):
        with pytest.raises(ValueError, match=r"covariance of 8 rows in \d dimensions is singular"):
            whiten(collapsed)
        assert whiten(collapsed, eps=0.1).isfinite().all()
    with pytest.raises(ValueError, match="needs more than 4 rows, got 4"):
        whiten(X[:4])
    with pytest.raises(ValueError, match="finite x, got 1 NaN"):
        whiten(torch.cat((X, X[:1] * torch.tensor([1, 1, 1, float("nan")]))))
    with pytest.raises(ValueError, match=r"N >= 2, got \(1, 4\)"):
        whiten(X[:1])


def test_closed_forms() -> None:
    assert w_mse(X[:, None].expand(12, 2, 4)).item() == pytest.approx(0, abs=1e-12)
    assert w_mse(torch.stack((X, -X), dim=1)).item() == pytest.approx(4)
    a, b = cholesky_whiten(Z[:, 0]), cholesky_whiten(Z[:, 1])
    expected = 2 * 11 / 12 - 2 * (a * b).sum().item() / (12 * 4)
    assert w_mse(Z[:, :2], normalize=False).item() == pytest.approx(expected, rel=1e-10)
    assert w_mse(torch.ones(8, 2, 3), eps=0.1).item() == 0  # both views at the origin


def test_lower_triangular_maps_do_not_matter() -> None:
    triangle = MIX.tril(-1) + torch.diag(MIX.diagonal().abs() + 0.1)
    assert w_mse(Z @ triangle.T + 1).item() == pytest.approx(w_mse(Z).item(), rel=1e-9)
    assert w_mse(Z @ ROTATION).item() != pytest.approx(w_mse(Z).item(), rel=1e-3)


def test_chunks_partition_the_batch() -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    expected = (w_mse(Z[order[:6]]) + w_mse(Z[order[6:]])) / 2
    value = w_mse(Z, chunk=6, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(value, expected)
    many = w_mse(Z, chunk=6, iterations=2, generator=torch.Generator().manual_seed(5))
    assert many.item() != pytest.approx(value.item(), rel=1e-6)
    with pytest.raises(ValueError, match="divides the batch of 12, got 5"):
        w_mse(Z, chunk=5)
    with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
        w_mse(Z, chunk=6, iterations=0)


def test_matches_lightly() -> None:
    lightly = pytest.importorskip("lightly.loss.wmse_loss", reason="lightly is only an oracle")
    oracle = lightly.WMSELoss(embedding_dim=4, w_size=12, num_samples=3)  # views are concatenated there
    value = oracle(Z.transpose(0, 1).flatten(0, 1))
    assert w_mse(Z).item() == pytest.approx(value.item(), rel=1e-6)
