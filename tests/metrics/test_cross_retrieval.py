"""Retrieval across modalities against brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from equissl.metrics import cross_retrieval
from equissl.metrics.cross_retrieval import cross_ranks, recall_both_ways


def pairs(count: int = 30, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, 6, generator=generator)
    return first, first + noise * torch.randn(count, 6, generator=generator)


def share(queries: Tensor, candidates: Tensor, k: int) -> float:
    """Share of queries whose partner is among the k of the largest cosines, one at a time."""
    hits = 0
    for place, query in enumerate(queries):
        cosines = [float(cosine_similarity(query, candidate, dim=0)) for candidate in candidates]
        hits += sum(cosine > cosines[place] for cosine in cosines) < k
    return hits / len(queries)


@pytest.mark.parametrize("blocked", [False, True])
def test_recalls_are_brute_force(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_retrieval, "ELEMENTS", 100 if blocked else 2**24)
    first, second = pairs()
    found = recall_both_ways(first, second)
    assert list(found) == ["forth/r1", "forth/r5", "forth/r10", "back/r1", "back/r5", "back/r10"]
    for k in (1, 5, 10):
        assert found[f"forth/r{k}"] == pytest.approx(share(first, second, k))
        assert found[f"back/r{k}"] == pytest.approx(share(second, first, k))
    values = list(found.values())
    assert values[:3] != values[3:] and values[0] < 1  # both ways are told apart


def test_aligned_and_collapsed_pairs() -> None:
    first, _ = pairs()
    assert set(recall_both_ways(first, 3 * first).values()) == {1.0}
    collapsed = recall_both_ways(torch.ones(30, 6), torch.ones(30, 6))
    assert [collapsed[f"forth/r{k}"] for k in (1, 5, 10)] == pytest.approx([1 / 30, 5 / 30, 10 / 30])


def test_several_queries_of_one_candidate() -> None:
    first, second = pairs(10, 0.1)
    queries, target = first.repeat_interleave(3, dim=0), torch.arange(10).repeat_interleave(3)
    above, tied = cross_ranks(queries, second, target)
    assert above.tolist() == cross_ranks(first, second)[0].repeat_interleave(3).tolist() and (tied == 1).all()


def test_any_of_a_query_s_own_candidates_counts() -> None:
    """Against a sorted list: 13 numbers are shared by 40 queries and 60 candidates."""
    generator = torch.Generator().manual_seed(1)
    queries, candidates = torch.randn(40, 8, generator=generator), torch.randn(60, 8, generator=generator)
    owners, owned = torch.arange(40) % 13, torch.arange(60) % 13
    above, tied = cross_ranks(queries, candidates, owners, owned)
    cosines = cosine_similarity(queries[:, None], candidates[None], dim=2)
    first = (owned[cosines.argsort(dim=1, descending=True)] == owners[:, None]).int().argmax(dim=1)
    assert torch.equal(above, first) and (tied == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: cross_ranks(x, y[:, 1:]), r"candidates \(N, E\), got \(30, 6\) and \(30, 5\)"),
        (lambda x, y: cross_ranks(x, y[1:]), "one candidate for each query .*, got"),
        (lambda x, y: cross_ranks(x, y, torch.arange(29)), r"owners \(30,\) and owned \(30,\), got \(29,\) and"),
        (lambda x, y: cross_ranks(x, y, torch.arange(30) + 1), "a candidate of every query, got none for 1 of 30"),
        (lambda x, y: cross_ranks(x, y * float("nan")), "finite scores"),
        (lambda x, y: cross_ranks(x[:0], y[:0]), r"got \(0, 6\)"),
        (lambda x, y: recall_both_ways(x, y, (0,)), "k >= 1, got 0"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*pairs())
