"""VICReg on a trajectory of three views."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from equissl.losses import vicreg
from equissl.objectives import Embedded
from equissl.objectives.create import create_objective
from equissl.objectives.trajectory import straightness


def on_circle(*angles: float) -> torch.Tensor:
    return torch.tensor([[[math.cos(a), math.sin(a), 0.0] for a in angles]], dtype=torch.float64)


def test_equal_steps_on_a_great_circle_are_straight_and_a_return_is_not() -> None:
    assert straightness(on_circle(0.2, 0.5, 0.9)) == pytest.approx(1)
    assert straightness(on_circle(0.2, 0.5, 0.1)) == pytest.approx(-1)
    turn = on_circle(0.2, 0.5, 0.5)
    turn[0, 2] += torch.tensor([0.0, 0.0, 0.3])
    assert straightness(turn) == pytest.approx(0, abs=1e-12)


def test_loss_is_the_definition() -> None:
    z = torch.randn(8, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss, terms = create_objective("vicreg_trajectory", 5, straight=0.5).double()(Embedded(z))
    left, centre, right = z.unbind(1)
    unit = centre / centre.norm(dim=1, keepdim=True)
    tangents = [v - (v * unit).sum(1, keepdim=True) * unit for v in (centre - left, right - centre)]
    expected = vicreg(z[:, :2], 10.0, 10.0, 1.0) - 0.5 * cosine_similarity(*tangents).mean()
    torch.testing.assert_close(loss, expected)
    assert terms["bend"] == pytest.approx(1 - float(cosine_similarity(*tangents).mean().detach()))
    loss.backward()
    assert z.grad[:, 2].abs().max() > 0
    other = 3 * z.detach()
    torch.testing.assert_close(straightness(other), straightness(z.detach()))  # the centre's length plays no part
