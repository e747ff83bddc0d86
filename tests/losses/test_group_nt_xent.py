"""NT-Xent with negatives of the anchor's group alone: the mask form of MCL."""

from __future__ import annotations

import math

import pytest
import torch
from loss_cases import random_views

from equissl.losses import group_nt_xent, nt_xent

GROUPS = torch.tensor([0, 1, 0, 7, 1, 0, 7, 0])


@pytest.mark.parametrize("admitted", ["all", "own", "none"])
@pytest.mark.parametrize("views", [2, 3])
def test_one_group_is_the_base_loss(views: int, admitted: str) -> None:
    z = random_views(8, views)
    found = group_nt_xent(z, torch.full((8,), 5), 0.2, admitted)
    assert found.item() == pytest.approx(nt_xent(z, 0.2, admitted).item(), rel=1e-12)


def test_value_and_gradient_are_those_of_batches_of_one_group() -> None:
    """The two forms of MCL: a mask, and batches drawn from one group each."""
    z = random_views(8).requires_grad_()
    masked = group_nt_xent(z, GROUPS, 0.2)
    parts = [nt_xent(z[g == GROUPS], 0.2) * (g == GROUPS).sum() for g in GROUPS.unique()]
    apart = torch.stack(parts).sum() / len(z)
    assert masked.item() == pytest.approx(apart.item(), rel=1e-12)
    (one,), (other,) = (torch.autograd.grad(loss, z) for loss in (masked, apart))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_by_hand() -> None:
    """Two orthogonal instances in one group, and one alone, which has no negative and does not count."""
    z = torch.eye(3, dtype=torch.float64)[:, None].expand(3, 2, 3)
    found = group_nt_xent(z, torch.tensor([4, 4, 9]), 0.5)
    assert found.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-12)


def test_instances_that_are_alone_cost_nothing_and_get_no_gradient() -> None:
    z = random_views(8).requires_grad_()
    loss = group_nt_xent(z, torch.arange(8), 0.2)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(z.grad, torch.zeros_like(z))
    z = random_views(8).requires_grad_()
    group_nt_xent(z, torch.tensor([0, 0, 0, 1, 2, 0, 0, 0]), 0.2).backward()
    assert torch.isfinite(z.grad).all() and not z.grad[3:5].any() and z.grad[:3].any()


def test_names_of_groups_do_not_matter() -> None:
    z = random_views(8)
    assert group_nt_xent(z, GROUPS) == group_nt_xent(z, 1000 - 3 * GROUPS)


@pytest.mark.parametrize("groups", [torch.zeros(7), torch.zeros(8, 1)])
def test_groups_of_another_batch(groups: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"group_ids of shape \(8,\)"):
        group_nt_xent(random_views(8), groups)
