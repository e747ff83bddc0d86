"""NT-Xent over views against the definition, other implementations and its relation to DCL."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor
from torch.nn.functional import softplus

from equissl.losses.contrastive import contrast
from equissl.losses.nt_xent import nt_xent
from equissl.losses.similarity import instance_negatives, unit_views, view_logits


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def naive(z: Tensor, temperature: float, own: bool) -> float:
    """Row by row, with explicit lists of candidates."""
    batch, views, _ = z.shape
    rows = [row / np.linalg.norm(row) for row in z.flatten(0, 1).numpy()]
    losses = []
    for a, row in enumerate(rows):
        logits = {j: row @ other / temperature for j, other in enumerate(rows) if j != a}
        positives = [j for j in logits if j // views == a // views]
        others = [logits[j] for j in logits if j not in positives]
        for p in positives:
            inside = [logits[p]] if own else [logits[q] for q in positives]
            losses.append(logsumexp([*others, *inside]) - logits[p])
    assert len(losses) == batch * views * (views - 1)
    return float(np.mean(losses))


@pytest.mark.parametrize("admitted", ["all", "own"])
@pytest.mark.parametrize("views", [2, 4])
def test_matches_the_definition_row_by_row(views: int, admitted) -> None:
    z = random(5, views, 6)
    expected = naive(z, 0.2, admitted == "own")
    assert nt_xent(z, 0.2, admitted).item() == pytest.approx(expected, rel=1e-12)


def test_two_views_match_lightly() -> None:
    z = random(16, 2, 8)
    value = nt_xent(z, 0.2).item()
    assert nt_xent(z, 0.2, "own").item() == pytest.approx(value, rel=1e-12)
    lightly = pytest.importorskip("lightly.loss", reason="lightly is only an oracle")
    assert value == pytest.approx(lightly.NTXentLoss(temperature=0.2)(z[:, 0], z[:, 1]).item(), rel=1e-10)


@pytest.mark.parametrize("views", [2, 3])
def test_own_positive_matches_pytorch_metric_learning(views: int) -> None:
    oracle = pytest.importorskip("pytorch_metric_learning.losses", reason="only an oracle")
    z, labels = random(6, views, 8), torch.arange(6).repeat_interleave(views)
    expected = oracle.NTXentLoss(temperature=0.3)(z.flatten(0, 1), labels).item()
    assert nt_xent(z, 0.3, "own").item() == pytest.approx(expected, rel=1e-10)
    assert (nt_xent(z, 0.3).item() == pytest.approx(expected, rel=1e-3)) is (views == 2)


def test_softplus_of_the_decoupled_loss_of_each_anchor() -> None:
    """And the gradient shrinks by the factor sigmoid(DCL), the share of the negatives."""
    z = unit_views(random(5, 2, 6), "test")
    positives, negatives = view_logits(z, 0.4), instance_negatives(z, 0.4)
    plain, decoupled = contrast(positives, negatives), contrast(positives, negatives, "none")
    torch.testing.assert_close(plain, softplus(decoupled))
    assert (contrast(positives + 1e-6, negatives) - plain).numpy() / 1e-6 == pytest.approx(
        -decoupled.sigmoid().numpy(), rel=1e-4
    )


def test_unknown_policy() -> None:
    with pytest.raises(ValueError, match="'all', 'own' or 'none', got 'both'"):
        nt_xent(random(4, 2, 6), 0.1, "both")  # type: ignore[arg-type]
