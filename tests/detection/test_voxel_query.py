"""The voxel query against loops over voxels, and the pooling against loops over points."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from equissl.detection import voxel_query as module
from equissl.detection.grid_pool import GridPool, PoolConfig
from equissl.detection.voxel_query import cube_offsets, manhattan_offsets, voxel_query
from equissl.sparse import Sites, SparseTensor, VoxelGrid

SHAPE = (5, 9, 8)


def some_sites(seed: int, count: int = 150, batch_size: int = 2, stride=(1, 1, 1)) -> Sites:
    generator = torch.Generator().manual_seed(seed)
    size = batch_size * SHAPE[0] * SHAPE[1] * SHAPE[2]
    flat = torch.randperm(size, generator=generator)[:count]
    indices = torch.stack(torch.unravel_index(flat, (batch_size, *SHAPE)), dim=1)
    return Sites(indices, SHAPE, batch_size, stride)


def some_cells(seed: int, count: int = 120) -> Tensor:
    """Some of them outside the grid, near and far."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.stack([torch.randint(-4, size + 4, (count,), generator=generator) for size in SHAPE], dim=1)
    cells[::17] *= 1000
    return torch.cat([torch.randint(2, (count, 1), generator=generator), cells], dim=1)


def slow_query(sites: Sites, cells: Tensor, reach: int, samples: int, manhattan: bool, near=lambda i, row: True):
    """For each cell the rows found, one voxel after the other: what the fast path must give."""
    rows = {tuple(place): row for row, place in enumerate(sites.indices.tolist())}
    steps = list(itertools.product(range(-reach, reach + 1), repeat=3))
    if manhattan:
        steps = sorted((s for s in steps if sum(map(abs, s)) <= reach), key=lambda s: sum(map(abs, s)))
    found = []
    for number, (b, z, y, x) in enumerate(cells.tolist()):
        places = [(b, z + dz, y + dy, x + dx) for dz, dy, dx in steps]
        seen = [rows[place] for place in places if place in rows and near(number, rows[place])][:samples]
        found.append(seen + [-1] * (samples - len(seen)))
    return torch.tensor(found)


def test_offsets() -> None:
    offsets = manhattan_offsets(4)
    distance = offsets.abs().sum(dim=1)
    # an octahedron of n steps holds (2n + 1)(2n² + 2n + 3) / 3 places
    assert len(offsets) == 129 and int(distance.max()) == 4 and bool((distance.diff() >= 0).all())
    assert offsets[0].tolist() == [0, 0, 0] and len(set(map(tuple, offsets.tolist()))) == 129
    assert cube_offsets(1)[:4].tolist() == [[-1, -1, -1], [-1, -1, 0], [-1, -1, 1], [-1, 0, -1]]


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("samples", [1, 5, 200])
@pytest.mark.parametrize("block", [1, 1 << 21])
def test_neighbours_by_manhattan_distance(reach, samples, block, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)  # one cell at a time, and all at once
    sites, cells = some_sites(reach), some_cells(samples)
    found = voxel_query(sites, cells, manhattan_offsets(reach), samples)
    assert torch.equal(found, slow_query(sites, cells, reach, samples, manhattan=True))


@pytest.mark.parametrize("block", [300, 1 << 21])
def test_neighbours_within_a_condition(block, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    sites, cells = some_sites(3), some_cells(4)

    def same_parity(numbers: Tensor, rows: Tensor) -> Tensor:
        return (rows + numbers[:, None]) % 2 == 0  # depends on the query itself, not on its cell alone

    found = voxel_query(sites, cells, cube_offsets(2), 6, lambda n, rows: (rows >= 0) & same_parity(n, rows))
    assert torch.equal(found, slow_query(sites, cells, 2, 6, False, lambda i, row: (row + i) % 2 == 0))


def test_nothing_to_find() -> None:
    sites = some_sites(0, count=0)
    assert torch.equal(voxel_query(sites, some_cells(0), manhattan_offsets(2), 3), torch.full((120, 3), -1))
    assert voxel_query(some_sites(0), some_cells(0)[:0], manhattan_offsets(2), 3).shape == (0, 3)


GRID = VoxelGrid((-1.0, -2.0, -3.0, 7.0, 7.0, 2.0), (0.5, 0.5, 0.5))  # the stage below has voxels of 1 m: 5 x 9 x 8


def slow_pool(layer: GridPool, stage: SparseTensor, points: Tensor, rows: Tensor) -> Tensor:
    """What one point after the other sees, in evaluation."""
    low = torch.tensor(GRID.point_range[:3])
    outputs = []
    for point, seen in zip(points, rows.tolist(), strict=True):
        values = []
        for row in [r for r in seen if r >= 0] or [None]:
            feature, offset = torch.zeros(1, layer.mlps_in[0][0].out_channels), torch.zeros(3)
            if row is not None:
                feature = layer.mlps_in[0](stage.features[row][None, :, None])[:, :, 0]
                offset = low + stage.indices[row, [3, 2, 1]] + 0.5 - point
            values.append((feature[0] + layer.mlps_pos[0](offset[None, :, None, None])[0, :, 0, 0]).relu())
        outputs.append(layer.mlps_out[0](torch.stack(values).amax(dim=0)[None, :, None])[0, :, 0])
    return torch.stack(outputs)


@pytest.mark.parametrize("query", ["manhattan", "ball"])
def test_pooling_point_by_point(query) -> None:
    torch.manual_seed(0)
    config = PoolConfig(("conv2",), samples=5, reach=2, query=query, radii=(1.7,), width=6)
    layer = GridPool(3, GRID, config, 1.7 if query == "ball" else None).eval()
    for norm in (m for m in layer.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    sites = some_sites(1, count=400, stride=(2, 2, 2))
    stage = SparseTensor(torch.randn(400, 3), sites)
    points = torch.rand(60, 3) * torch.tensor([14.0, 13, 9]) - torch.tensor([4.0, 5, 5])
    batch = torch.randint(2, (60,))
    cells = torch.cat([batch[:, None], (points - torch.tensor(GRID.point_range[:3])).floor().long().flip(1)], dim=1)
    centres = torch.tensor(GRID.point_range[:3]) + sites.indices[:, [3, 2, 1]] + 0.5

    def near(number: int, row: int) -> bool:
        return query == "manhattan" or float((centres[row] - points[number]).norm()) <= 1.7

    rows = slow_query(sites, cells, 2, 5, query == "manhattan", near)
    counts = (rows >= 0).sum(dim=1)
    assert set(counts.tolist()) >= {0, 1, 5}  # none, some, all that fit
    torch.testing.assert_close(layer(stage, points, batch), slow_pool(layer, stage, points, rows))


def test_an_empty_stage_has_the_features_of_an_empty_place() -> None:
    for query in ("manhattan", "ball"):
        layer = GridPool(3, GRID, PoolConfig(query=query), 1.6 if query == "ball" else None).eval()
        empty = SparseTensor(torch.zeros(0, 3), some_sites(0, count=0))
        features = layer(empty, torch.rand(4, 3), torch.zeros(4, dtype=torch.int64))
        assert features.shape == (4, 32)
        torch.testing.assert_close(features[:1].expand(4, -1), features)


def test_impossible_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="stages among"):
        PoolConfig(stages=("bev",))
    with pytest.raises(ValueError, match="'manhattan' or 'ball'"):
        PoolConfig(query="cube")
    with pytest.raises(ValueError, match="radius for each"):
        PoolConfig(stages=("conv3",), query="ball")
    with pytest.raises(ValueError, match="positive numbers"):
        PoolConfig(points=0)
