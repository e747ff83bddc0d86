"""SupCon against the definition, pytorch-metric-learning and its relation to NT-Xent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from equissl.losses.nt_xent import nt_xent
from equissl.losses.supcon import supcon

LABELS = torch.tensor([7, -2, 7, 0, -2])


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def naive(z: Tensor, labels: Tensor, temperature: float, average: str) -> float:
    """Row by row, with explicit lists of candidates."""
    rows = [row / np.linalg.norm(row) for row in z.flatten(0, 1).numpy()]
    classes = labels.repeat_interleave(z.shape[1]).tolist()
    losses = []
    for a, row in enumerate(rows):
        logits = {j: row @ other / temperature for j, other in enumerate(rows) if j != a}
        positives = [logits[j] for j in logits if classes[j] == classes[a]]
        if not positives:
            losses.append(0.0)
            continue
        inside = logsumexp(positives) - math.log(len(positives))
        losses.append(logsumexp(list(logits.values())) - (np.mean(positives) if average == "out" else inside))
    return float(np.mean(losses))


@pytest.mark.parametrize("average", ["out", "in"])
@pytest.mark.parametrize("views", [1, 3])
def test_matches_the_definition_row_by_row(views: int, average) -> None:
    """With one view the only member of class 0 has no positive, and costs nothing."""
    z = random(5, views, 6).requires_grad_()
    value = supcon(z, LABELS, 0.2, average)
    assert value.item() == pytest.approx(naive(z.detach(), LABELS, 0.2, average), rel=1e-12)
    value.backward()
    assert z.grad is not None and z.grad.isfinite().all()


@pytest.mark.parametrize("views", [2, 3])
def test_instance_labels_give_nt_xent(views: int) -> None:
    z = random(6, views, 6)
    assert supcon(z, torch.arange(6), 0.2).item() == pytest.approx(nt_xent(z, 0.2).item(), rel=1e-12)


def test_matches_pytorch_metric_learning() -> None:
    oracle = pytest.importorskip("pytorch_metric_learning.losses", reason="only an oracle")
    z = random(5, 2, 6)
    expected = oracle.SupConLoss(temperature=0.2)(z.flatten(0, 1), LABELS.repeat_interleave(2)).item()
    assert supcon(z, LABELS, 0.2).item() == pytest.approx(expected, rel=1e-10)


def test_two_orthogonal_classes_of_two() -> None:
    z = torch.eye(2, dtype=torch.float64).repeat_interleave(2, 0)[:, None]
    expected = math.log1p(2 * math.exp(-1 / 0.3))
    for average in ("out", "in"):
        value = supcon(z, torch.tensor([0, 0, 1, 1]), 0.3, average)
        assert value.item() == pytest.approx(expected, rel=1e-12)


def test_the_mean_inside_is_never_larger() -> None:
    z = random(5, 3, 6)
    assert supcon(z, LABELS, 0.2, "in").item() < supcon(z, LABELS, 0.2).item()
    labels = torch.arange(5)
    pair = supcon(z[:, :2], labels, 0.2, "in")  # equal with a single positive
    assert pair.item() == pytest.approx(supcon(z[:, :2], labels, 0.2).item(), rel=1e-12)


@pytest.mark.parametrize("average", ["out", "in"])
def test_no_positive_at_all_and_no_negative_at_all(average) -> None:
    z = random(4, 1, 6).requires_grad_()
    value = supcon(z, torch.arange(4), 0.2, average)
    value.backward()
    assert value.item() == 0 and z.grad is not None and z.grad.abs().max() == 0
    same = torch.ones(4, 1, 6, dtype=torch.float64)
    assert supcon(same, torch.zeros(4), 0.2, average).item() == pytest.approx(math.log(3), rel=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"labels of shape \(5,\), got \(10,\)"):
        supcon(random(5, 2, 6), torch.arange(10))
    with pytest.raises(ValueError, match="'out' or 'in', got 'mean'"):
        supcon(random(5, 2, 6), LABELS, average="mean")  # type: ignore[arg-type]
