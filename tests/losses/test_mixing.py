"""Mixtures of embeddings against closed forms, and what the draws promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses.mixing import draw_pairs, draw_partners, label_matched_weights, mix_rows, mix_with_queries

EYE = torch.eye(4, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(), dtype=torch.float64)


def test_orthonormal_rows_stay_orthogonal_to_a_query_orthogonal_to_both() -> None:
    weights = torch.linspace(0, 1, 5, dtype=torch.float64)
    mixed = mix_rows(EYE, torch.tensor([1, 2]).expand(5, 2), weights)
    torch.testing.assert_close(mixed @ EYE[0], torch.zeros(5).double())
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(5).double())
    torch.testing.assert_close(mixed[:, 1] / mixed[:, 2].clamp(min=1e-9), weights / (1 - weights).clamp(min=1e-9))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_cosine_of_a_query_with_its_mixture(share: float) -> None:
    mixed = mix_with_queries(EYE[:1], EYE, torch.tensor([[2]]), torch.tensor([[share]]))[0, 0]
    assert (mixed @ EYE[0]).item() == pytest.approx(share / math.hypot(share, 1 - share), abs=1e-7)
    assert (mixed @ EYE[0]).item() <= math.sqrt(0.5) + 1e-7


def test_mixtures_are_the_definition() -> None:
    rows, queries = random(6, 4), random(3, 4)
    indices, weights = draw_pairs(3, 5, 6, seeded())
    mixed = mix_rows(rows, indices, weights, normalize=False)
    partners, shares = draw_partners(3, 5, 6, seeded())
    joined = mix_with_queries(queries, rows, partners, shares, normalize=False)
    for q in range(3):
        for s in range(5):
            i, j = indices[q, s]
            w, b = weights[q, s].double(), shares[q, s].double()
            torch.testing.assert_close(mixed[q, s], w * rows[i] + (1 - w) * rows[j])
            torch.testing.assert_close(joined[q, s], b * queries[q] + (1 - b) * rows[partners[q, s]])
    unit = torch.nn.functional.normalize(mixed, dim=-1)
    torch.testing.assert_close(mix_rows(rows, indices, weights), unit)


def test_gradient_only_on_demand() -> None:
    rows, queries = random(6, 4).requires_grad_(), random(3, 4).requires_grad_()
    pairs, partners = draw_pairs(3, 5, 6, seeded()), draw_partners(3, 5, 6, seeded())
    assert not mix_rows(rows, *pairs).requires_grad and not mix_with_queries(queries, rows, *partners).requires_grad
    for normalize in (True, False):
        assert torch.autograd.gradcheck(lambda x, n=normalize: mix_rows(x, *pairs, n, detach=False), rows)
        assert torch.autograd.gradcheck(
            lambda q, x, n=normalize: mix_with_queries(q, x, *partners, n, detach=False), (queries, rows)
        )


def test_opposite_rows_and_half_precision_stay_finite() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    mixed = mix_rows(opposite, torch.tensor([[0, 1]]), torch.tensor([0.5]), detach=False)
    mixed.sum().backward()
    assert torch.equal(mixed, torch.zeros(1, 2)) and opposite.grad.isfinite().all()
    half = mix_rows(random(6, 4).half(), *draw_pairs(3, 5, 6, seeded()))
    torch.testing.assert_close(
        half.double(), mix_rows(random(6, 4), *draw_pairs(3, 5, 6, seeded())), rtol=1e-2, atol=1e-2
    )
    assert half.dtype == torch.float32


def test_draws_are_uniform_different_and_repeatable() -> None:
    indices, weights = draw_pairs(50, 400, 5, seeded())
    assert (indices[..., 0] != indices[..., 1]).all()
    counts = torch.bincount(indices[..., 0].flatten() * 5 + indices[..., 1].flatten(), minlength=25).view(5, 5)
    expected = 20000 / 20
    assert (counts - expected * (1 - torch.eye(5))).abs().max() < 5 * math.sqrt(expected)
    assert abs(weights.mean() - 0.5) < 0.01 and weights.min() >= 0 and weights.max() < 1
    partners, shares = draw_partners(50, 400, 5, seeded())
    assert abs(shares.mean() - 0.25) < 0.005 and shares.min() >= 0 and shares.max() < 0.5
    assert torch.bincount(partners.flatten()).tolist() == pytest.approx([4000] * 5, rel=0.1)
    assert not torch.equal(indices[0], indices[1])  # each query draws for itself
    assert torch.equal(draw_pairs(50, 400, 5, seeded())[0], indices)
    assert not torch.equal(draw_pairs(50, 400, 5, seeded(1))[0], indices)


def test_label_matched_weights() -> None:
    assert label_matched_weights(*(torch.tensor(y) for y in (30, 25, 40))).item() == pytest.approx(2 / 3)
    lower, target, upper = torch.sort(random(3, 20), dim=0).values
    weights = label_matched_weights(target, lower, upper)
    torch.testing.assert_close(weights * lower + (1 - weights) * upper, target)
    assert weights.min() >= 0 and weights.max() <= 1
    outside = label_matched_weights(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 2.0]), torch.tensor(2.0))
    assert outside.isnan().all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        draw_pairs(3, 1, 1)
    with pytest.raises(ValueError, match="at least 1 of them, got 0"):
        draw_partners(3, 1, 0)
    with pytest.raises(ValueError, match=r"indices \(..., 2\) with weights \(...\), got \(4, 4\), \(3, 3\) and \(3,\)"):
        mix_rows(EYE, torch.zeros(3, 3, dtype=torch.long), torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \(4, 4\), \(4, 3\), \(4, 1\), \(4, 1\)"):
        mix_with_queries(EYE, EYE[:, :3], torch.zeros(4, 1, dtype=torch.long), torch.zeros(4, 1))
