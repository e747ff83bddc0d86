"""Losses of similarity queries against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses import query_softmax, query_triplets

losses = pytest.mark.parametrize("loss", [query_triplets, query_softmax])


def queries(count: int = 7, dim: int = 5) -> Tensor:
    return torch.randn(count, 3, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_alike_and_the_odd_one_a_margin_away_cost_nothing() -> None:
    z = torch.zeros(2, 3, 4, dtype=torch.float64)
    z[:, 2, 0] = torch.tensor([math.sqrt(2.0), 3.0], dtype=torch.float64)
    assert query_triplets(z, margin=2.0).item() == pytest.approx(0, abs=1e-12)
    assert query_triplets(z, margin=2.5).item() == pytest.approx(0.25)  # of the first query alone


def test_all_equal_costs_the_margin_or_log_three() -> None:
    z = queries()[:, :1].expand(-1, 3, -1)
    assert query_triplets(z, margin=0.7).item() == pytest.approx(0.7)
    assert query_softmax(z).item() == pytest.approx(math.log(3))


@losses
def test_order_of_the_two_alike_shift_and_rotation_change_nothing(loss) -> None:
    z, turn = queries(), torch.linalg.qr(queries(5, 5)[:, 0])[0]
    for moved in (z[:, [1, 0, 2]], z + 3.0, z @ turn):
        torch.testing.assert_close(loss(moved), loss(z))
    assert loss(z[:, [0, 2, 1]]) != loss(z)  # another answer is another loss


def test_mean_of_both_ordinary_triplets() -> None:
    first, second, odd = queries().unbind(1)

    def squared(a: Tensor, b: Tensor) -> Tensor:
        return torch.nn.functional.pairwise_distance(a, b, eps=0).square()

    terms = [
        torch.nn.functional.triplet_margin_with_distance_loss(a, p, odd, distance_function=squared, margin=1.3)
        for a, p in ((first, second), (second, first))
    ]
    torch.testing.assert_close(query_triplets(queries(), margin=1.3), sum(terms) / 2)


def test_softmax_of_pairs() -> None:
    z = torch.tensor([[[0.0], [1.0], [3.0]]], dtype=torch.float64)  # squared distances 1, 9, 4
    expected = -math.log(math.exp(-0.5) / (math.exp(-0.5) + math.exp(-4.5) + math.exp(-2.0)))
    assert query_softmax(z, temperature=2.0).item() == pytest.approx(expected)


@losses
def test_bad_input_is_named(loss) -> None:
    with pytest.raises(ValueError, match=r"\(Q, 3, D\), got \(4, 2, 5\)"):
        loss(torch.zeros(4, 2, 5))
    with pytest.raises(ValueError, match="above 0, got 0"):
        loss(queries(), 0.0)
