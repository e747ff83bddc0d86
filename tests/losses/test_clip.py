"""Cross-view InfoNCE against cross-entropy, its bound and its limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from equissl.losses.clip import LogitScale, clip
from equissl.losses.info_nce import info_nce


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_way_is_the_cross_entropy_of_the_cosines() -> None:
    queries, keys, partners = random(4, 6), random(9, 6, seed=1), torch.tensor([3, 8, 0, 3])
    logits = normalize(queries, dim=1) @ normalize(keys, dim=1).T / 0.2
    value = info_nce(queries, keys, 0.2, partners)
    assert value.item() == pytest.approx(cross_entropy(logits, partners).item(), rel=1e-12)
    value = info_nce(queries, keys, 0.2)
    assert value.item() == pytest.approx(cross_entropy(logits, torch.arange(4)).item(), rel=1e-12)


def test_symmetric_form_averages_all_ordered_pairs() -> None:
    z = random(5, 3, 6)
    pairs = [info_nce(z[:, a], z[:, b], 0.2) for a, b in itertools.permutations(range(3), 2)]
    assert clip(z, 0.2).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_targets(smoothing: float) -> None:
    z, own = random(5, 3, 6), torch.arange(5)
    rows = normalize(z, dim=2)
    tables = [rows[:, a] @ rows[:, b].T / 0.2 for a, b in itertools.permutations(range(3), 2)]
    wanted = torch.stack([cross_entropy(table, own, label_smoothing=smoothing) for table in tables]).mean()
    assert clip(z, 0.2, smoothing).item() == pytest.approx(wanted.item(), rel=1e-12)


def test_temperature_limits() -> None:
    z = random(6, 2, 8)
    cosines = normalize(z[:, 0], dim=1) @ normalize(z[:, 1], dim=1).T
    positive, n = cosines.diagonal().mean(), 6
    negative = (cosines.sum() - cosines.trace()) / n
    hot = math.log(n) - ((n - 1) / n * positive - negative / n).item() / 1e4
    assert info_nce(z[:, 0], z[:, 1], 1e4).item() == pytest.approx(hot, abs=1e-8)
    triplet = (cosines.max(dim=1).values - cosines.diagonal()).mean().item()
    assert 1e-4 * info_nce(z[:, 0], z[:, 1], 1e-4).item() == pytest.approx(triplet, abs=1e-8)


def test_logit_scale_learns_up_to_its_limit() -> None:
    scale, z = LogitScale().double(), random(4, 2, 6)
    assert scale().item() == pytest.approx(0.07, rel=1e-6)
    assert clip(z, scale()).item() == pytest.approx(clip(z, 0.07).item(), rel=1e-6)
    clip(z, scale()).backward()
    assert scale.log_scale.grad is not None and scale.log_scale.grad.abs() > 1e-3
    torch.nn.init.constant_(scale.log_scale, 20.0)
    assert scale().item() == pytest.approx(0.01, rel=1e-6)


def test_errors() -> None:
    z = random(4, 6)
    with pytest.raises(ValueError, match=r"got \(4, 6\) and \(4, 5\)"):
        info_nce(z, z[:, :5])
    with pytest.raises(ValueError, match="at least 2 keys, got 1"):
        info_nce(z[:1], z[:1])
    with pytest.raises(ValueError, match="4 queries and 3 keys"):
        info_nce(z, z[:3])
    with pytest.raises(ValueError, match=r"partners of shape \(4,\), got \(3,\)"):
        info_nce(z, z, partners=torch.arange(3))
    with pytest.raises(ValueError, match="positive temperature, got -1"):
        info_nce(z, z, -1)
    with pytest.raises(ValueError, match=r"smoothing in \[0, 1\), got 1"):
        clip(random(4, 2, 6), smoothing=1.0)
