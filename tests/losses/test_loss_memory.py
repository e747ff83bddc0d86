"""What losses keep for the backward pass, against the orders of growth that their definitions allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from loss_cases import CASES, random_views
from torch import Tensor

Bound = Callable[[int, int, int], int]

# Elements of the largest tables that a loss needs: views V, samples B, dimensions D.
SAME_VIEW: Bound = lambda v, b, d: v * b * b  # noqa: E731
ALL_ROWS: Bound = lambda v, b, d: (v * b) ** 2  # noqa: E731
VIEW_PAIRS: Bound = lambda v, b, d: v * (v - 1) * b * b  # noqa: E731
MOMENTS: Bound = lambda v, b, d: v * v * d * d  # noqa: E731
ROWS: Bound = lambda v, b, d: 0  # noqa: E731

# How many such tables are kept; beside them, every loss may keep some tables of the size of its input.
TABLES: dict[str, tuple[Bound, int]] = {
    "nt_xent": (ALL_ROWS, 1),
    "nt_xent_own": (ALL_ROWS, 1),
    "group_nt_xent": (ALL_ROWS, 3),
    "supcon": (ALL_ROWS, 1),
    "supcon_in": (ALL_ROWS, 3),
    "dcl": (ALL_ROWS, 1),
    "dclw": (ALL_ROWS, 1),
    "mv_info_nce": (ALL_ROWS, 1),
    "mv_info_nce_cross_view": (VIEW_PAIRS, 1),
    "clip": (VIEW_PAIRS, 1),
    "hard_contrastive": (VIEW_PAIRS, 1),
    "dhel": (SAME_VIEW, 1),
    "dhel_one_sided": (SAME_VIEW, 1),
    "mv_dhel": (SAME_VIEW, 1),
    "uniformity_loss": (SAME_VIEW, 4),
    "align_uniform": (SAME_VIEW, 4),
    "repulsion": (VIEW_PAIRS, 4),
    "cacr": (VIEW_PAIRS, 4),
    "barlow_twins": (MOMENTS, 4),
    "vicreg": (MOMENTS, 4),
    "w_mse": (MOMENTS, 4),
    "alignment_loss": (ROWS, 0),
    "attraction": (ROWS, 0),
    "byol": (ROWS, 0),
    "simsiam": (ROWS, 0),
    "swav": (ROWS, 0),
}
INPUTS = 14


def kept_elements(loss: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """Elements of the distinct buffers that the graph holds once the loss is there."""
    kept: dict[int, Tensor] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = loss(z)
    del value
    return sum(x.untyped_storage().nbytes() for x in kept.values()) // z.element_size()


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("batch", "views", "dim"), [(128, 4, 8), (64, 8, 8), (32, 3, 96)])
def test_kept_for_the_backward(name: str, batch: int, views: int, dim: int) -> None:
    z = random_views(batch, views, dim).float().requires_grad_()
    bound, tables = TABLES[name]
    allowed = tables * bound(views, batch, dim) + INPUTS * z.numel()
    assert kept_elements(CASES[name].loss, z) <= allowed


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"barlow_twins", "vicreg", "w_mse"}))  # pairs of dimensions
def test_no_table_of_views_by_views_by_samples_by_dimensions(name: str) -> None:
    """Wide embeddings of many views: less is kept than one such table."""
    views, batch, dim = 16, 4, 256
    z = random_views(batch, views, dim).float().requires_grad_()
    assert kept_elements(CASES[name].loss, z) < views * views * batch * dim
