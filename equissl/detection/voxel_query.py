"""Search for the voxels about a place (voxel query of Voxel R-CNN, Deng et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from equissl.sparse import Sites
from equissl.sparse.sites import Triple, key_sites, site_keys

BLOCK = 1 << 21  # pairs of a place and an offset looked at in one go
Within = Callable[[Tensor, Tensor], Tensor]


def manhattan_offsets(reach: int) -> Tensor:
    """List the offsets (K, 3) along z, y, x whose Manhattan distance is at most ``reach``, the nearest first."""
    offsets = sorted(_cube(reach), key=_distance)
    return torch.tensor([offset for offset in offsets if _distance(offset) <= reach])


def cube_offsets(reach: int) -> Tensor:
    """List the offsets (K, 3) along z, y, x of at most ``reach`` along every axis; x runs fastest."""
    return torch.tensor(list(_cube(reach)))


def voxel_query(sites: Sites, cells: Tensor, offsets: Tensor, samples: int, within: Within | None = None) -> Tensor:
    """Find the first occupied voxels about each of M cells, in the order of ``offsets``.

    Memory is bounded whatever M; cells asked for several times are looked up once in a block.

    Args:
        sites: occupied voxels.
        cells: (M, 4) integers batch, z, y, x on the grid of ``sites``; they may lie outside.
        offsets: (K, 3) along z, y, x, where to look.
        samples: S, how many to take at most.
        within: further condition: takes cells' numbers (m,) and rows of ``sites`` (m, K), -1 where there is none, and
            gives bool (m, K).

    Returns:
        (M, S) int64 rows of ``sites``, -1 behind the last that was found.
    """
    offsets = offsets.to(cells.device)
    numbers = torch.arange(len(cells), device=cells.device)
    rows = [cells.new_empty(0, samples, dtype=torch.int64)]
    for block in numbers.split(max(1, BLOCK // len(offsets))):
        distinct, which = _distinct(cells[block], sites, int(offsets.abs().max()))
        places = torch.cat([distinct[:, None, :1].expand(-1, len(offsets), -1), distinct[:, None, 1:] + offsets], dim=2)
        found = sites.find(places.view(-1, 4)).view(len(distinct), len(offsets))
        if within is not None:
            found = found[which]
            found = torch.where(within(block, found), found, -1)
        first = _first(found, samples)
        rows.append(first[which] if within is None else first)
    return torch.cat(rows)


def _cube(reach: int) -> Iterator[Triple]:
    along = range(-reach, reach + 1)
    return product(along, along, along)


def _distance(offset: Triple) -> int:
    return sum(map(abs, offset))


def _distinct(cells: Tensor, sites: Sites, reach: int) -> tuple[Tensor, Tensor]:
    """Distinct cells (U, 4), and which of them each cell (m,) is; those far outside may be moved, but stay so."""
    margin = reach + 1
    z, y, x = (size + 2 * margin for size in sites.spatial_shape)
    inner = (cells[:, 1:] + margin).clamp(min=0)
    inner = torch.minimum(inner, inner.new_tensor([z, y, x]) - 1)
    keys, which = torch.unique(site_keys(torch.cat([cells[:, :1], inner], dim=1), (z, y, x)), return_inverse=True)
    return key_sites(keys, (z, y, x)) - torch.tensor([0, margin, margin, margin], device=keys.device), which


def _first(rows: Tensor, samples: int) -> Tensor:
    """(m, samples) first entries of (m, K) that are not negative, in order, then -1."""
    count = rows.shape[1]
    rank = torch.where(rows >= 0, torch.arange(count, 0, -1, device=rows.device), 0)
    best, place = rank.topk(min(samples, count), dim=1)
    chosen = torch.where(best > 0, rows.gather(1, place), -1)
    return torch.nn.functional.pad(chosen, (0, samples - chosen.shape[1]), value=-1)
