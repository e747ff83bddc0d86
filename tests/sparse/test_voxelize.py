"""The voxeliser against a dictionary, and its edge cases."""

from __future__ import annotations

import pytest
import torch

from equissl.sparse import VoxelGrid, voxelize

KITTI = VoxelGrid((0, -40, -3, 70.4, 40, 1), (0.05, 0.05, 0.1))
SMALL = VoxelGrid((0, 0, 0, 4, 3, 2), (1, 1, 1))


def clouds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    low, size = torch.tensor([-1.0, -1, -1, 0]), torch.tensor([6.0, 5, 4, 1])
    return [low + size * torch.rand(count, 4, generator=generator) for count in (50, 0, 30)]


def by_hand(batch: list[torch.Tensor], max_points: int | None) -> dict[tuple[int, ...], tuple[list[float], int]]:
    found: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for index, cloud in enumerate(batch):
        for point in cloud:
            x, y, z = (int(value // 1) for value in point[:3])
            if 0 <= x < 4 and 0 <= y < 3 and 0 <= z < 2:
                found.setdefault((index, z, y, x), []).append(point)
    return {key: (torch.stack(p[:max_points]).mean(0).tolist(), len(p)) for key, p in found.items()}


@pytest.mark.parametrize("max_points", [None, 1, 2])
def test_means_equal_those_by_hand(max_points) -> None:
    batch = clouds()
    voxels = voxelize(batch, SMALL, max_points)
    expected = by_hand(batch, max_points)
    keys = [tuple(row) for row in voxels.tensor.indices.tolist()]
    assert keys == sorted(expected)
    torch.testing.assert_close(voxels.tensor.features, torch.tensor([expected[key][0] for key in keys]))
    assert voxels.counts.tolist() == [expected[key][1] for key in keys]
    assert voxels.tensor.spatial_shape == (2, 3, 4)
    assert voxels.tensor.batch_size == 3


def test_every_point_finds_its_voxel() -> None:
    batch = clouds()
    voxels = voxelize(batch, SMALL, max_points=1)
    for index, (cloud, rows) in enumerate(zip(batch, voxels.point_to_voxel.split(voxels.sizes), strict=True)):
        assert len(cloud) == len(rows)
        for point, row in zip(cloud, rows.tolist(), strict=True):
            inside = all(0 <= value < limit for value, limit in zip(point, (4, 3, 2), strict=False))
            assert (row >= 0) == inside
            if inside:
                x, y, z = point[:3].floor().int().tolist()
                assert voxels.tensor.indices[row].tolist() == [index, z, y, x]


@pytest.mark.parametrize(
    ("point", "voxel"),
    [
        ((10, 0, 0), (30, 800, 200)),
        ((0, -40, -3), (0, 0, 0)),
        ((70.39, 39.99, 0.99), (39, 1599, 1407)),
        ((70.4, 0, 0), None),
        ((-0.01, 0, 0), None),
    ],
)
def test_kitti_grid_of_second(point, voxel) -> None:
    voxels = voxelize([torch.tensor([[*map(float, point), 0.5]])], KITTI)
    assert KITTI.shape == (40, 1600, 1408)
    assert voxels.tensor.indices.tolist() == ([] if voxel is None else [[0, *voxel]])
    assert voxels.point_to_voxel.tolist() == ([-1] if voxel is None else [0])


def test_shuffled_points_give_the_same_voxels() -> None:
    batch = clouds()
    shuffle = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    one, other = voxelize(batch, SMALL), voxelize([batch[0][shuffle], *batch[1:]], SMALL)
    torch.testing.assert_close(other.tensor.indices, one.tensor.indices)
    torch.testing.assert_close(other.tensor.features, one.tensor.features)
    torch.testing.assert_close(other.point_to_voxel[:50], one.point_to_voxel[:50][shuffle])


def test_means_are_differentiable() -> None:
    cloud = torch.rand(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: voxelize([p], SMALL, max_points=3).tensor.features, (cloud,))


@pytest.mark.parametrize("batch", [[torch.zeros(0, 4)], [torch.full((3, 4), 9.0), torch.zeros(0, 4)]])
def test_without_points_in_range_there_is_no_voxel(batch) -> None:
    voxels = voxelize(batch, SMALL, max_points=2)
    assert voxels.tensor.features.shape == (0, 4)
    assert voxels.tensor.batch_size == len(batch)
    assert (voxels.point_to_voxel == -1).all()
    assert not voxels.tensor.dense().any()


def test_wrong_input_is_refused() -> None:
    bad = torch.zeros(3, 4)
    bad[1, 2], bad[2, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=r"finite points, got \[0, 2\]"):
        voxelize([torch.zeros(2, 4), bad], SMALL)
    for wrong in ([], [torch.zeros(3, 2)], [torch.zeros(3, 4).int()], [torch.zeros(4)]):
        with pytest.raises(ValueError, match="at least one cloud"):
            voxelize(wrong, SMALL)
    with pytest.raises(ValueError, match="one width"):
        voxelize([torch.zeros(3, 4), torch.zeros(3, 5)], SMALL)
    with pytest.raises(ValueError, match="max_points"):
        voxelize([torch.zeros(3, 4)], SMALL, 0)
    with pytest.raises(ValueError, match="multiple of the voxel size"):
        VoxelGrid((0, 0, 0, 1, 1, 1), (0.3, 0.5, 0.5))
    with pytest.raises(ValueError, match="multiple of the voxel size"):
        VoxelGrid((0, 0, 0, -1, 1, 1), (0.5, 0.5, 0.5))
