"""Full ranking against scikit-learn, and ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from equissl.metrics.ranking import ndcg, target_ranks
from equissl.metrics.retrieval import hit_rate


def test_beside_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(50, 30, generator=generator, dtype=torch.float64)
    target = torch.randint(30, (50,), generator=generator)
    above, tied = target_ranks(scores, target)
    truth = torch.nn.functional.one_hot(target, 30).numpy()
    for k in (1, 5, 10):
        assert ndcg(above, tied, k) == pytest.approx(ndcg_score(truth, scores.numpy(), k=k), abs=1e-12)
        inside = [t in np.argsort(-s)[:k] for t, s in zip(target.tolist(), scores.numpy(), strict=True)]
        assert hit_rate(above, tied, k) == pytest.approx(np.mean(inside))


def test_a_constant_score_is_a_random_order() -> None:
    above, tied = target_ranks(torch.zeros(3, 40), torch.tensor([0, 7, 39]))
    assert hit_rate(above, tied, 10) == pytest.approx(10 / 40)
    assert ndcg(above, tied, 10) == pytest.approx(sum(1 / math.log2(1 + rank) for rank in range(1, 11)) / 40)


def test_excluded_items_are_no_candidates_but_the_true_one_is() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    excluded = torch.tensor([[True, False, False], [True, False, True]])
    above, tied = target_ranks(scores, torch.tensor([1, 2]), excluded)
    assert above.tolist() == [0, 1] and tied.tolist() == [1, 1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"targets in 0\.\.2, got 1\.\.3"):
        target_ranks(torch.zeros(2, 3), torch.tensor([1, 3]))
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        target_ranks(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="expected k >= 1, got 0"):
        ndcg(torch.tensor([0]), torch.tensor([1]), 0)
