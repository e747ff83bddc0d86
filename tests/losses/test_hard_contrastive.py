"""The hard contrastive loss: its definition, its limits in the number of negatives, and the balance of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses.clip import clip
from equissl.losses.contrastive import contrast
from equissl.losses.hard_contrastive import hard_contrastive


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_matches_the_definition() -> None:
    z = random(7, 2, 6)
    cosines = normalize(z[:, 0], dim=1) @ normalize(z[:, 1], dim=1).T
    losses = []
    for table in (cosines, cosines.T):
        for i, row in enumerate(table):
            kept = torch.cat((row[:i], row[i + 1 :])).sort().values[-3:]
            losses.append(torch.log1p(((kept - row[i]) / 0.2).exp().sum()))
    assert hard_contrastive(z, 0.2, 3).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-12)


@pytest.mark.parametrize("views", [2, 3])
def test_all_negatives_give_clip_and_fewer_never_more(views: int) -> None:
    z = random(7, views, 6)
    values = [hard_contrastive(z, 0.2, k).item() for k in range(1, 7)]
    assert values == sorted(values) and values[0] < values[-1]
    assert values[-1] == pytest.approx(clip(z, 0.2).item(), rel=1e-12)
    assert hard_contrastive(z, 0.2, 1.0).item() == values[-1]
    assert hard_contrastive(z, 0.2, 0.3).item() == values[1]  # 0.3 of 6 rounded up


def test_negatives_are_pushed_as_much_as_the_positive_is_pulled() -> None:
    positive, negatives = random(4, 1).requires_grad_(), random(4, 5).requires_grad_()
    for count in (5, 2):
        loss = contrast(positive, negatives.topk(count).values.logsumexp(1)).sum()
        pull, push = torch.autograd.grad(loss, (positive, negatives))
        torch.testing.assert_close(push.sum(1), -pull[:, 0])


def test_errors() -> None:
    z = random(4, 2, 6)
    for count in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3 negatives .batch size minus 1., got {count}"):
            hard_contrastive(z, hardest=count)
    with pytest.raises(ValueError, match=r"fraction of negatives in \(0, 1\], got 1.5"):
        hard_contrastive(z, hardest=1.5)
