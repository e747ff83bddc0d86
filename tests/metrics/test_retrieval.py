"""Ranks against brute force in NumPy, closed forms, and ties that rounding must not break."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equissl.metrics import retrieval as r


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def brute_ranks(predicted: np.ndarray, candidates: np.ndarray, normalize: bool) -> np.ndarray:
    """(n, V) rank from 1 of view q for query q, one query at a time."""
    ranks = np.empty(predicted.shape[:2], int)
    for i, j in np.ndindex(*ranks.shape):
        score = [float(predicted[i, j] @ c) / (np.linalg.norm(c) if normalize else 1) for c in candidates[i]]
        ranks[i, j] = 1 + list(np.argsort(score)[::-1]).index(j)
    return ranks


@pytest.mark.parametrize("normalize", [True, False])
def test_ranks_mrr_and_hits_are_brute_force(normalize: bool) -> None:
    candidates = numbers(7, 12, 6) * (1 + torch.arange(12))[:, None]
    predicted = candidates / 5 + numbers(7, 12, 6, seed=1)
    above, tied = r.view_ranks(predicted, candidates, torch.arange(12), normalize)
    ranks = brute_ranks(predicted.double().numpy(), candidates.double().numpy(), normalize)
    assert ranks.std() > 1 and (tied == 1).all()
    np.testing.assert_array_equal(above + 1, ranks)
    assert r.mean_reciprocal_rank(above, tied) == pytest.approx(np.mean(1 / ranks), rel=1e-12)
    for k in r.HITS:
        assert r.hit_rate(above, tied, k) == pytest.approx(np.mean(ranks <= k), rel=1e-12)


def test_targets_may_differ_between_objects() -> None:
    candidates, target = numbers(3, 5, 4), torch.tensor([[4, 0], [1, 1], [2, 3]])
    predicted = candidates.gather(1, target[..., None].expand(-1, -1, 4))
    assert (r.view_ranks(predicted, candidates, target)[0] == 0).all()


def test_a_collapsed_embedding_scores_as_chance_does() -> None:
    above, tied = r.view_ranks(torch.ones(3, 50, 4), torch.ones(3, 50, 4), torch.arange(50))
    assert r.mean_reciprocal_rank(above, tied) == pytest.approx(r.chance_mrr(50), rel=1e-12)
    assert r.chance_mrr(50) == pytest.approx(0.0900, abs=5e-5)  # published chance level, H_50 / 50
    assert [r.hit_rate(above, tied, k) for k in r.HITS] == pytest.approx([0.02, 0.04, 0.10, 0.20])


def same_but_for_rounding(rows: int, dim: int = 1024) -> torch.Tensor:
    """(rows, dim) one vector, each number of each row off by up to one unit in its last place."""
    generator = torch.Generator().manual_seed(0)
    vector = numbers(1, dim).expand(rows, dim)
    towards = torch.randint(-1, 2, vector.shape, generator=generator) * torch.inf
    return torch.where(towards.isnan(), vector, vector.nextafter(towards))


def rearranged(rows: int, dim: int = 1024) -> torch.Tensor:
    """(rows, dim) one vector's numbers in as many orders: each sums to the same, but for rounding."""
    generator, vector = torch.Generator().manual_seed(0), numbers(dim) + 1
    return torch.stack([vector[torch.randperm(dim, generator=generator)] for _ in range(rows)])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("query", [numbers(1024, seed=1), torch.ones(1024)], ids=["any", "ones"])
def test_rounding_breaks_no_tie(normalize: bool, query: torch.Tensor) -> None:
    """Exact comparisons ranked such candidates by luck, which differed from processor to processor."""
    candidates = rearranged(50) if (query == 1).all() else same_but_for_rounding(50)
    above, tied = r.view_ranks(query.expand(1, 50, -1), candidates[None], torch.arange(50), normalize)
    assert (above == 0).all() and (tied == 50).all()


def test_the_order_of_the_numbers_does_not_matter() -> None:
    """Two groups of ties, summed in other orders: the counts stay."""
    candidates = torch.cat([rearranged(20), 1.01 * rearranged(30)])[None]
    shuffled = candidates[..., torch.randperm(1024, generator=torch.Generator().manual_seed(1))]
    for table in (candidates, shuffled):
        above, tied = r.view_ranks(torch.ones(1, 50, 1024), table, torch.arange(50), normalize=False)
        assert above[0].tolist() == [30] * 20 + [0] * 30 and tied[0].tolist() == [20] * 20 + [30] * 30


def test_close_candidates_are_no_ties() -> None:
    """Cosines that differ by 1.4e-5 or more, at the published width: angles of 0, 0.01, 0.02 … from the query."""
    angle = 0.01 * torch.arange(50, dtype=torch.float64)
    first, second = torch.linalg.qr(numbers(1024, 2).double())[0].T
    candidates = (angle.cos()[:, None] * first + angle.sin()[:, None] * second).float()
    above, tied = r.view_ranks(first.float().expand(1, 50, -1), candidates[None], torch.arange(50))
    assert above[0].tolist() == list(range(50)) and (tied == 1).all()


def test_expected_reciprocal_rank_is_the_mean_over_orders_of_the_ties() -> None:
    above, tied = torch.tensor([3, 0]), torch.tensor([4, 2])
    expected = [np.mean([1 / k for k in (4, 5, 6, 7)]), 0.75]
    np.testing.assert_allclose(r.reciprocal_ranks(above, tied), expected, rtol=1e-12)
    assert r.hit_rate(above, tied, 5) == pytest.approx((2 / 4 + 1) / 2)


def test_errors_say_what_came() -> None:
    good = numbers(2, 3, 4)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4\), \(2, 3, 5\), \(3,\)"):
        r.view_ranks(good, numbers(2, 3, 5), torch.arange(3))
    with pytest.raises(ValueError, match=r"target views in 0\.\.2, got 1\.\.3"):
        r.view_ranks(good, good, torch.arange(1, 4))
    with pytest.raises(ValueError, match="finite scores"):
        r.view_ranks(good * torch.nan, good, torch.arange(3))
    with pytest.raises(ValueError, match="k >= 1, got 0"):
        r.hit_rate(torch.tensor([0]), torch.tensor([1]), 0)
    with pytest.raises(ValueError, match="at least one query"):
        r.reciprocal_ranks(torch.tensor([]), torch.tensor([]))
