"""The contrastive kernel and its log-sums against their definitions, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from equissl.losses import similarity
from equissl.losses.contrastive import contrast
from equissl.losses.precision import unit_norm


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(positives: np.ndarray, negatives: np.ndarray, admitted: str, pool: bool, weights: np.ndarray) -> float:
    """One anchor, with explicit denominators."""

    def denominator(p: float) -> float:
        inside = {"all": positives, "own": np.array([p]), "none": np.array([])}[admitted]
        return logsumexp(np.concatenate((negatives, inside)))

    if pool:
        return denominator(0) - logsumexp(positives)
    return float(np.mean([denominator(p) - w * p for p, w in zip(positives, weights, strict=True)]))


@pytest.mark.parametrize(
    ("admitted", "pool", "weighted"),
    [
        ("all", False, False),
        ("own", False, False),
        ("none", False, False),
        ("all", True, False),
        ("none", True, False),
        ("all", False, True),
        ("own", False, True),
        ("none", False, True),
    ],
)
def test_kernel_matches_the_definition(admitted, pool, weighted) -> None:
    positives, negatives = 5 * random(4, 3), 5 * random(4, 7, seed=1)
    weights = 2 * random(4, 3, seed=2) if weighted else torch.ones(4, 3)
    value = contrast(positives, negatives.logsumexp(1), admitted, pool, weights if weighted else None)
    rows = zip(positives.numpy(), negatives.numpy(), weights.numpy(), strict=True)
    expected = [naive(p, n, admitted, pool, w) for p, n, w in rows]
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)


def test_losses_near_zero_keep_their_digits() -> None:
    """exp(-25) is lost beside 1 in float32, and so is the difference of two logarithms of 25."""
    value = contrast(torch.tensor([[25.0]]), torch.tensor([0.0]))
    assert value.item() == pytest.approx(1.3887943864771144e-11, rel=1e-5)


def test_no_negatives_and_extreme_logits_are_finite() -> None:
    positives = torch.tensor([[1e4, -1e4], [-3e4, 2.0]], requires_grad=True)
    negatives = torch.tensor([float("-inf"), 2e4])
    for admitted in ("all", "own"):
        value = contrast(positives, negatives, admitted)
        assert torch.autograd.grad(value.sum(), positives)[0].isfinite().all() and value.isfinite().all()


def test_kernel_errors() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 3\) and \(3,\)"):
        contrast(random(4, 3), random(3))
    with pytest.raises(ValueError, match="'all', 'own' or 'none', got 'some'"):
        contrast(random(4, 3), random(4), "some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one denominator and no weights"):
        contrast(random(4, 3), random(4), "own", pool=True)


def test_log_sum_admits_exactly_the_allowed_keys() -> None:
    queries, keys = unit_norm(random(3, 6)), unit_norm(random(5, 6, seed=1))
    logits = (queries @ keys.T / 0.2).numpy()
    excluded = torch.tensor([[0, 1], [4, 4], [2, 3]])
    ids = (torch.tensor([0, 1, 7]), torch.tensor([0, 1, 0, 0, 1]))
    rest = [[2, 3, 4], [0, 1, 2, 3], [0, 1, 4]]
    expected = [logsumexp(row[keep]) for row, keep in zip(logits, rest, strict=True)]
    np.testing.assert_allclose(similarity.log_sum(queries, keys, 0.2, excluded).numpy(), expected, rtol=1e-12)
    expected = [logsumexp(np.sort(row[keep])[-2:]) for row, keep in zip(logits, rest, strict=True)]
    value = similarity.log_sum(queries, keys, 0.2, excluded, hardest=2)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)
    value = similarity.log_sum(queries, keys, 0.2, excluded, ids)
    np.testing.assert_allclose(value[:2].numpy(), [logsumexp(logits[0, 2:4]), logits[1, 1]], rtol=1e-12)
    assert value[2] == -torch.inf  # no key of its group


def test_a_query_without_keys_has_a_finite_gradient() -> None:
    queries = random(2, 3).requires_grad_()
    value = similarity.log_sum(queries, queries, 0.1, torch.tensor([[0, 1], [1, 1]]))
    torch.where(value.isfinite(), value, 0).sum().backward()
    assert queries.grad is not None and queries.grad.isfinite().all() and queries.grad.abs().max() > 0


@pytest.mark.parametrize("limit", [1, 13, 30])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    rows = random(9, 5).requires_grad_()
    ids = torch.arange(9) % 2

    def run() -> list[Tensor]:
        plain = similarity.log_sum(unit_norm(rows), unit_norm(rows), 0.3, torch.arange(9)[:, None])
        grouped = similarity.log_sum(unit_norm(rows), unit_norm(rows), 0.3, groups=(ids, ids), hardest=3)
        return [plain.detach(), grouped.detach(), *torch.autograd.grad((plain * grouped).sum(), rows)]

    expected = run()
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", limit)
    for value, want in zip(run(), expected, strict=True):
        torch.testing.assert_close(value, want, rtol=1e-12, atol=1e-14)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation gives, in the backward pass too."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            self.elements = max(self.elements, value.numel() if isinstance(value, Tensor) else 0)
        return out


@pytest.mark.parametrize(("limit", "largest"), [(600, 600), (3600, 3600)])
def test_blocks_bound_the_largest_table(monkeypatch: pytest.MonkeyPatch, limit: int, largest: int) -> None:
    """Neither pass may build more logits at once than the limit allows."""
    rows = unit_norm(random(60, 4)).requires_grad_()
    monkeypatch.setattr(similarity, "TABLE_ELEMENTS", limit)
    with Largest() as seen:
        similarity.log_sum(rows, rows, 0.1, torch.arange(60)[:, None]).sum().backward()
    assert seen.elements == largest
