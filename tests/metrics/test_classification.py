"""Accuracy against scikit-learn, and the rule for ties."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from equissl.metrics import top_k_accuracy


@pytest.mark.parametrize("k", [1, 2, 5])
def test_matches_scikit_learn(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(200, 7, generator=generator), torch.randint(7, (200,), generator=generator)
    value = top_k_accuracy(logits, target, k)
    assert value == pytest.approx(top_k_accuracy_score(target, logits, k=k, labels=range(7)))
    assert 0 < value < 1


def test_ties_count_by_chance() -> None:
    """Equal scores for every class must not reward whichever class comes first."""
    target = torch.zeros(4, dtype=torch.int64)
    assert top_k_accuracy(torch.zeros(4, 5), target) == pytest.approx(1 / 5)
    assert top_k_accuracy(torch.zeros(4, 5), target, k=3) == pytest.approx(3 / 5)
    assert top_k_accuracy(torch.zeros(4, 5), target, k=5) == 1
    assert top_k_accuracy(torch.tensor([[1.0, 1.0, 2.0]]), torch.tensor([0]), k=2) == pytest.approx(1 / 2)
    assert top_k_accuracy(torch.tensor([[1.0, 1.0, 2.0]]), torch.tensor([0]), k=1) == 0


def test_errors() -> None:
    logits, target = torch.zeros(2, 3), torch.tensor([0, 2])
    with pytest.raises(ValueError, match="between 1 and the number of classes 3, got 5"):
        top_k_accuracy(logits, target, k=5)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3,\)"):
        top_k_accuracy(logits, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"class indices in 0\.\.2, got torch.int64 in 0\.\.3"):
        top_k_accuracy(logits, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="without NaN, got 1 bad rows"):
        top_k_accuracy(torch.tensor([[float("nan"), 0, 0], [1, 2, 3]]), target)
