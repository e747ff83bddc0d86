"""Relative penalties against the gradients of the losses, and the entropy against its limits and derivative."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.metrics.temperature import penalty_entropy, relative_penalty


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.07, 0.3, 1.0])
@pytest.mark.parametrize("kept", [5, 2])
def test_gradients_of_the_losses_stand_in_these_proportions(temperature: float, kept: int) -> None:
    """For InfoNCE and for the hard loss, which keeps two: pushes add up to the pull."""
    positive, negatives = random(4, 1).tanh().requires_grad_(), random(6, 4, 5)[1].tanh().requires_grad_()
    logits = (negatives / temperature).topk(kept).values
    loss = contrast(positive / temperature, logits.logsumexp(dim=1)).sum()
    pull, push = torch.autograd.grad(loss, (positive, negatives))
    torch.testing.assert_close(push.abs().sum(dim=1) / pull[:, 0].abs(), torch.ones(4, dtype=torch.float64))
    threshold = negatives.topk(kept).values[:, -1:]
    expected = relative_penalty(negatives.masked_fill(negatives < threshold, float("-inf")), temperature)
    torch.testing.assert_close(push / push.sum(dim=1, keepdim=True), expected, rtol=1e-9, atol=1e-12)
    probability = torch.sigmoid(logits.logsumexp(dim=1) - positive[:, 0] / temperature)
    torch.testing.assert_close(pull[:, 0], -probability / temperature)


def test_limits_of_the_temperature() -> None:
    negatives = torch.tensor([[0.1, -0.3, 0.6, 0.2], [0.9, 0.5, -0.5, 0.0]])
    torch.testing.assert_close(relative_penalty(negatives, 1e9), torch.full((2, 4), 0.25).double())
    assert torch.equal(relative_penalty(negatives, 1e-4).argmax(dim=1), torch.tensor([2, 0]))
    assert relative_penalty(negatives, 1e-4).max(dim=1).values.tolist() == [1, 1]
    assert relative_penalty(negatives, 0.3).sum(dim=1).tolist() == pytest.approx([1, 1])
    two = relative_penalty(torch.tensor([0.2, 0.5]), 0.3)
    assert two[1].item() == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-6)


def test_entropy_matches_scipy() -> None:
    z = random(9, 3, 5)
    unit = torch.nn.functional.normalize(z, dim=2).numpy()
    values = []
    for v, w in ((v, w) for v in range(3) for w in range(3) if v != w):
        table = unit[:, v] @ unit[:, w].T
        values += [entropy(softmax(np.delete(row, i) / 0.2)) for i, row in enumerate(table)]
    assert penalty_entropy(3 * z, 0.2) == pytest.approx(np.mean(values), rel=1e-10)


def test_entropy_falls_strictly_with_the_temperature() -> None:
    z = random(20, 2, 5)
    values = [penalty_entropy(z, t) for t in (1e-3, 0.05, 0.07, 0.3, 1.0, 10.0, 1e6)]
    assert all(low < high for low, high in itertools.pairwise(values))
    assert values[0] == pytest.approx(0, abs=0.05) and values[-1] == pytest.approx(math.log(19), rel=1e-9)


def test_equal_negatives_have_the_largest_entropy() -> None:
    orthonormal = torch.eye(7)[:, None].repeat(1, 2, 1)
    for z in (orthonormal, torch.ones(7, 2, 3)):
        assert penalty_entropy(z, 0.07) == pytest.approx(math.log(6), rel=1e-6)


def test_entropy_in_blocks() -> None:
    z = random(1100, 2, 3)
    a, b = torch.nn.functional.normalize(z, dim=2).unbind(1)
    table = (a @ b.T / 0.3).fill_diagonal_(float("-inf"))
    expected = (torch.special.entr(table.softmax(0)).sum() + torch.special.entr(table.softmax(1)).sum()) / 2200
    assert penalty_entropy(z, 0.3) == pytest.approx(expected.item(), rel=1e-10)


def test_errors() -> None:
    z = random(4, 2, 3)
    for call in (lambda t: penalty_entropy(z, t), lambda t: relative_penalty(z, t)):
        with pytest.raises(ValueError, match="positive temperature, got 0"):
            call(0)
    for bad in (z[:1], z[:, :1], z[0]):
        with pytest.raises(ValueError, match="with N, V >= 2, got"):
            penalty_entropy(bad, 0.1)
    with pytest.raises(ValueError, match="finite features"):
        penalty_entropy(z * float("nan"), 0.1)
    with pytest.raises(ValueError, match=r"K >= 1, got \(4, 0\)"):
        relative_penalty(torch.ones(4, 0), 0.1)
    with pytest.raises(ValueError, match="no NaN in each row, got 2 rows without"):
        relative_penalty(torch.tensor([[0.1, float("nan")], [0.1, float("-inf")], [float("-inf")] * 2]), 0.1)
