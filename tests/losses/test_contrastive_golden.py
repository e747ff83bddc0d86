"""Contrastive objectives at embeddings whose losses are known: orthonormal, a small toy, and collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equissl.losses.clip import clip
from equissl.losses.dcl import dcl, dclw
from equissl.losses.dhel import dhel, mv_dhel
from equissl.losses.hard_contrastive import hard_contrastive
from equissl.losses.info_nce import info_nce
from equissl.losses.mv_info_nce import mv_info_nce
from equissl.losses.nt_xent import nt_xent
from equissl.losses.supcon import supcon


def orthonormal(batch: int, views: int) -> Tensor:
    return torch.eye(batch, dtype=torch.float64)[:, None].repeat(1, views, 1)


def directions(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack((angles.cos(), angles.sin()), dim=1)


A, B, C = directions(0, 90, 200), directions(20, 70, 230), directions(10, 100, 215)
PAIR, TRIPLE = torch.stack((A, B), dim=1), torch.stack((A, B, C), dim=1)

ORTHONORMAL = {
    0.1: (0.000363133, 0.000181583, -7.920558458, -7.227411278, 0.693419543, 0.000272362, 0.000181583, -6.939729205),
    0.2: (0.052500962, 0.026594985, -2.920558458, -2.227411278, 0.732779042, 0.039631861, 0.026594985, -1.939729205),
    0.5: (0.733656614, 0.432652903, 0.079441542, 0.772588722, 1.287584845, 0.594437664, 0.432652903, 1.060270795),
    1.0: (1.371950866, 0.904832442, 1.079441542, 1.772588722, 1.858569361, 1.165422180, 0.904832442, 2.060270795),
}


@pytest.mark.parametrize("temperature", ORTHONORMAL)
def test_orthonormal_batch_of_five(temperature: float) -> None:
    two, three = orthonormal(5, 2), orthonormal(5, 3)
    values = (
        nt_xent(two, temperature),
        info_nce(two[:, 0], two[:, 1], temperature),
        dcl(two, temperature),
        dhel(two, temperature),
        supcon(three, torch.arange(5), temperature),
        mv_info_nce(three, temperature),
        mv_info_nce(three, temperature, "cross_view"),
        mv_dhel(three, temperature),
    )
    assert torch.stack(values).tolist() == pytest.approx(ORTHONORMAL[temperature], abs=6e-10)


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_orthonormal_closed_forms(views: int, temperature: float) -> None:
    n, t = 6, temperature
    z = orthonormal(n, views)
    pairs, away = views * (views - 1) / 2, math.exp(-1 / t)
    expected = {
        "nt_xent": math.log(views - 1 + views * (n - 1) * away),
        "own": math.log1p(views * (n - 1) * away),
        "clip": math.log1p((n - 1) * away),
        "dcl": math.log(views * (n - 1)) - 1 / t,
        "dhel": 2 * math.log(n - 1) - 1 / t,
        "one-sided": math.log(n - 1) - 1 / t,
        "mv_info_nce": math.log1p(views * (n - 1) / (views - 1) * away),
        "mv_dhel": views * math.log(n - 1) - 1 / t - math.log(pairs),
        "hard": math.log1p(3 * away),
    }
    values = {
        "nt_xent": nt_xent(z, t),
        "own": nt_xent(z, t, "own"),
        "clip": clip(z, t),
        "dcl": dcl(z, t),
        "dhel": dhel(z, t),
        "one-sided": dhel(z, t, both=False),
        "mv_info_nce": mv_info_nce(z, t),
        "mv_dhel": mv_dhel(z, t),
        "hard": hard_contrastive(z, t, 3),
    }
    assert {name: value.item() for name, value in values.items()} == pytest.approx(expected, rel=1e-9)
    assert dclw(z, t).item() == pytest.approx(expected["dcl"], rel=1e-12)


def test_toy_of_two_views() -> None:
    assert nt_xent(PAIR, 0.5).item() == pytest.approx(0.4120075620, abs=1e-9)
    assert info_nce(A, B, 0.5).item() == pytest.approx(0.2186534128, abs=1e-9)
    assert clip(PAIR, 0.5).item() == pytest.approx(0.2193124219, abs=1e-9)
    assert dcl(PAIR, 0.5).item() == pytest.approx(-0.8335710723, abs=1e-9)
    assert dclw(PAIR, 0.5, sigma=0.5).item() == pytest.approx(-0.8288711078, abs=1e-9)
    assert dhel(PAIR, 0.5).item() == pytest.approx(-1.2698328650, abs=1e-9)
    assert dhel(PAIR, 0.5, both=False).item() == pytest.approx(-1.7866322017, abs=1e-9)
    assert mv_info_nce(PAIR, 0.5).item() == pytest.approx(0.4158888757, abs=1e-9)
    assert mv_info_nce(PAIR, 0.5, "cross_view").item() == pytest.approx(0.2193325618, abs=1e-9)


def test_toy_of_three_views() -> None:
    assert supcon(TRIPLE, torch.arange(3), 0.5).item() == pytest.approx(0.9809928368, abs=1e-9)
    assert nt_xent(TRIPLE, 0.5).item() == pytest.approx(0.9809928368, abs=1e-9)
    assert mv_info_nce(TRIPLE, 0.5).item() == pytest.approx(0.2865913482, abs=1e-9)
    assert mv_info_nce(TRIPLE, 0.5, "cross_view").item() == pytest.approx(0.1967779600, abs=1e-9)
    assert mv_dhel(TRIPLE, 0.5).item() == pytest.approx(-2.4347437865, abs=1e-9)


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_collapse(views: int, dtype: torch.dtype) -> None:
    n, t = 7, 0.1
    z = torch.full((n, views, 5), -0.3, dtype=dtype)
    pairs = views * (views - 1) / 2
    assert nt_xent(z, t).item() == pytest.approx(math.log(views * n - 1), rel=2e-6)
    assert supcon(z, torch.arange(n) // 2, t).item() == pytest.approx(math.log(views * n - 1), rel=2e-6)
    assert info_nce(z[:, 0], z[:, 1], t).item() == pytest.approx(math.log(n), rel=2e-6)
    assert clip(z, t).item() == pytest.approx(math.log(n), rel=2e-6)
    assert dcl(z, t).item() == pytest.approx(math.log(views * (n - 1)), rel=2e-6)
    assert dclw(z, t).item() == pytest.approx(math.log(views * (n - 1)), rel=2e-6)
    assert dhel(z, t).item() == pytest.approx(1 / t + 2 * math.log(n - 1), rel=2e-6)
    assert mv_info_nce(z, t).item() == pytest.approx(math.log((views * n - 1) / (views - 1)), rel=2e-6)
    assert mv_info_nce(z, t, "cross_view").item() == pytest.approx(math.log(n), rel=2e-6)
    expected = (views - 1) / t + views * math.log(n - 1) - math.log(pairs)
    assert mv_dhel(z, t).item() == pytest.approx(expected, rel=2e-6)
    assert hard_contrastive(z, t, 3).item() == pytest.approx(math.log(4), rel=2e-6)
