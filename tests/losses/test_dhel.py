"""DHEL and MV-DHEL against their definitions and each other."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.losses.dhel import dhel, mv_dhel


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def energies(z: Tensor, temperature: float) -> Tensor:
    """(B, V) by sums of exponentials: log of the product of which is what MV-DHEL adds up."""
    table = torch.einsum("ivd,jvd->vij", z, z).div(temperature).exp()
    return (table.sum(2) - table.diagonal(dim1=1, dim2=2)).T.log()


@pytest.mark.parametrize("both", [True, False])
def test_dhel_averages_over_pairs_of_views(both: bool) -> None:
    z = normalize(random(5, 3, 6), dim=2)
    energy = energies(z, 0.3)
    terms = [
        energy[:, a] + both * energy[:, b] - (z[:, a] * z[:, b]).sum(1) / 0.3
        for a, b in itertools.combinations(range(3), 2)
    ]
    assert dhel(z, 0.3, both).item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-12)


def test_mv_dhel_is_the_log_of_its_ratio() -> None:
    z = normalize(random(5, 4, 6), dim=2)
    product = energies(z, 0.3).exp().prod(1)
    positives = sum(((z[:, a] * z[:, b]).sum(1) / 0.3).exp() for a, b in itertools.combinations(range(4), 2))
    assert mv_dhel(z, 0.3).item() == pytest.approx((product / positives).log().mean().item(), rel=1e-12)


def test_two_views_are_the_same() -> None:
    z = random(6, 2, 8)
    assert mv_dhel(z, 0.2).item() == pytest.approx(dhel(z, 0.2).item(), rel=1e-12)


def test_the_energy_of_a_view_ignores_the_other_views() -> None:
    """Turning all of the second view by one orthogonal map moves the alignment only."""
    z = normalize(random(5, 2, 6), dim=2)
    turned = torch.stack((z[:, 0], z[:, 1] @ torch.linalg.qr(random(6, 6))[0]), dim=1)
    alignment = [(x[:, 0] * x[:, 1]).sum(1).mean() / 0.3 for x in (z, turned)]
    gap = dhel(turned, 0.3) - dhel(z, 0.3)
    assert gap.item() == pytest.approx((alignment[0] - alignment[1]).item(), rel=1e-10)
    assert abs(gap.item()) > 0.01


def test_no_table_holds_pairs_of_views_and_of_instances_at_once() -> None:
    """Only (B, B) tables stay for the backward pass, V times two, and nothing of size V V B D."""
    batch, views, width = 32, 4, 64
    saved: list[int] = []
    z = random(batch, views, width).requires_grad_()

    def note(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        mv_dhel(z)
    assert max(saved) <= batch * views * width < views * views * batch * width
    assert sum(size for size in saved if size == batch * batch) <= 2 * views * batch * batch


def test_spreading_lowers_and_collapse_raises_it() -> None:
    spread = torch.eye(6, dtype=torch.float64)[:, None].expand(6, 3, 6)
    collapsed = torch.ones(6, 3, 6, dtype=torch.float64)
    assert mv_dhel(spread, 0.5).item() == pytest.approx(3 * math.log(5) - 2 - math.log(3), rel=1e-12)
    assert mv_dhel(spread, 0.5) < mv_dhel(random(6, 3, 6), 0.5) < mv_dhel(collapsed, 0.5) + 1e-9
