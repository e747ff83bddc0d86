"""InfoNCE, NT-Xent and CLIP's loss are three losses with three names, here as in the registry of objectives."""

from __future__ import annotations

import pytest
import torch

from equissl.losses import clip, info_nce, info_nce_of_views, nt_xent
from equissl.objectives import create_objective
from equissl.objectives.base import Embedded

N = torch.arange(24, dtype=torch.float64).reshape(4, 6)
X, Y = torch.sin(1 + N), torch.cos(0.5 * N)
PAIR = torch.stack((X, Y), dim=1)
VALUES = {"info_nce": 8.508369, "clip": 5.165477, "nt_xent": 10.080289}


def test_three_losses_on_one_pair() -> None:
    found = {"info_nce": info_nce(X, Y, 0.1), "clip": clip(PAIR, 0.1), "nt_xent": nt_xent(PAIR, 0.1)}
    assert {name: value.item() for name, value in found.items()} == pytest.approx(VALUES, abs=1e-6)


@pytest.mark.parametrize("name", VALUES)
def test_objectives_have_the_losses_names(name: str) -> None:
    loss, terms = create_objective(name, 6, temperature=0.1)(Embedded(PAIR))
    assert loss.item() == pytest.approx(VALUES[name], abs=1e-6)
    assert terms[name] == loss


def test_one_direction_by_hand() -> None:
    """Cross-entropy of each query over the keys alone: neither other queries nor the keys' own choices count."""
    logits = torch.nn.functional.normalize(X) @ torch.nn.functional.normalize(Y).T / 0.1
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(4))
    torch.testing.assert_close(info_nce(X, Y, 0.1), expected)
    torch.testing.assert_close(clip(PAIR, 0.1), (expected + info_nce(Y, X, 0.1)) / 2)
    assert info_nce(X, Y, 0.1) != info_nce(Y, X, 0.1)


def test_more_views_are_keys_of_the_first() -> None:
    views = torch.stack((X, Y, X.flip(0)), dim=1)
    expected = (info_nce(X, Y, 0.2) + info_nce(X, X.flip(0), 0.2)) / 2
    torch.testing.assert_close(info_nce_of_views(views, 0.2), expected)


def test_a_fixed_temperature_of_clip() -> None:
    objective = create_objective("clip", 6, temperature=0.2, learned=False)
    assert not any(p.requires_grad for p in objective.parameters())
    assert objective(Embedded(PAIR))[0].item() == pytest.approx(clip(PAIR, 0.2).item(), rel=1e-5)
