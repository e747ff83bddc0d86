"""Voxel backbones: sizes, shapes, equivariance, look-up and bird's-eye view."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from equissl.encoders.voxel import (
    VOXEL_BACKBONES,
    VoxelBackBone8x,
    VoxelResBackBone8x,
    bev_columns,
    compress_height,
    create_voxel_backbone,
    locate,
    locate_points,
)
from equissl.sparse import SparseConv3d, SparseTensor, SubmanifoldConv3d, VoxelGrid, voxelize

GRID = (40, 64, 48)  # z, y, x
BACKBONES = [VoxelBackBone8x, VoxelResBackBone8x]


def voxels(count: int = 300, batch: int = 1, margin: int = 0, seed: int = 0) -> SparseTensor:
    """Random voxels, at least ``margin`` away from the sides along y and x."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([batch, GRID[0], GRID[1] - 2 * margin, GRID[2] - 2 * margin])
    indices = (torch.rand(count, 4, generator=generator) * size).long().unique(dim=0)
    indices += torch.tensor([0, 0, margin, margin])
    return SparseTensor.of(torch.randn(len(indices), 4, generator=generator), indices, GRID, batch)


def with_statistics(backbone: nn.Module) -> nn.Module:
    """BatchNorm with means and variances that are not 0 and 1, in evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return backbone.eval()


@pytest.mark.parametrize(
    ("backbone", "columns", "expected"),
    [
        (VoxelBackBone8x, 4, 711_872),
        (VoxelBackBone8x, 5, 712_304),
        (VoxelResBackBone8x, 4, 2_694_880),
        (VoxelResBackBone8x, 5, 2_695_312),
    ],
)
def test_number_of_parameters(backbone, columns, expected) -> None:
    assert sum(parameter.numel() for parameter in backbone(columns).parameters()) == expected


def test_number_of_parameters_of_each_part() -> None:
    parts = VoxelBackBone8x().named_children()
    assert {name: sum(p.numel() for p in part.parameters()) for name, part in parts} == {
        "conv_input": 1_760,
        "conv1": 6_944,
        "conv2": 69_312,
        "conv3": 276_864,
        "conv4": 332_160,
        "conv_out": 24_832,
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_shapes_and_strides(backbone) -> None:
    x = voxels(batch=2)
    out = backbone()(x)
    widths = {VoxelBackBone8x: (16, 32, 64, 64), VoxelResBackBone8x: (16, 32, 64, 128)}[backbone]
    shapes = [(41, 64, 48), (21, 32, 24), (11, 16, 12), (5, 8, 6)]
    for stage, width, shape, stride in zip(out.stages.values(), widths, shapes, (1, 2, 4, 8), strict=True):
        assert stage.features.shape == (len(stage), width)
        assert stage.spatial_shape == shape
        assert stage.stride == (stride, stride, stride)
    assert list(out.stages) == ["conv1", "conv2", "conv3", "conv4"]
    assert (out.out.features.shape[1], out.out.spatial_shape, out.out.stride) == (128, (2, 8, 6), (16, 8, 8))
    assert compress_height(out.out).shape == (2, 256, 8, 6)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ((40, 1600, 1408), (2, 200, 176)),
        ((40, 1504, 1504), (2, 188, 188)),
        ((40, 1024, 1024), (2, 128, 128)),
        ((40, 1440, 1440), (2, 180, 180)),
        ((40, 1600, 2816), (2, 200, 352)),
        ((24, 64, 48), (1, 8, 6)),
    ],
)
def test_output_shapes_of_the_usual_grids(grid, expected) -> None:
    assert VoxelBackBone8x().output_shape(grid) == expected


def test_a_flat_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 24 voxels along z, got \(23, 64, 48\)"):
        VoxelBackBone8x().output_shape((23, 64, 48))
    thin = SparseTensor.of(torch.zeros(1, 4), torch.zeros(1, 4).int(), (10, 64, 48), 1)
    with pytest.raises(ValueError, match=r"got \(10, 64, 48\)"):
        VoxelBackBone8x()(thin)


def dense_twin(backbone: VoxelBackBone8x, x: SparseTensor) -> Tensor:
    """The backbone by dense convolutions: after each layer, what lies off its sites is set to zero."""
    b, z, y, w = x.indices.long().unbind(1)
    grid = torch.zeros(x.batch_size, x.features.shape[1], GRID[0] + 1, *GRID[1:], dtype=x.features.dtype)
    grid[b, :, z, y, w] = x.features
    mask = torch.zeros_like(grid[:, :1])
    mask[b, :, z, y, w] = 1
    for layer in backbone.modules():
        if isinstance(layer, SubmanifoldConv3d):
            grid = functional.conv3d(grid, layer.weight.permute(0, 4, 1, 2, 3), padding=1)
        elif isinstance(layer, SparseConv3d):
            options = {"stride": layer.geometry.stride, "padding": layer.geometry.padding}
            grid = functional.conv3d(grid, layer.weight.permute(0, 4, 1, 2, 3), **options)
            mask = functional.conv3d(mask, mask.new_ones(1, 1, *layer.geometry.kernel), **options).round().clamp(max=1)
        elif isinstance(layer, nn.BatchNorm1d):
            shape = (1, -1, 1, 1, 1)
            scale = (layer.weight / (layer.running_var + layer.eps).sqrt()).view(shape)
            grid = (grid - layer.running_mean.view(shape)) * scale + layer.bias.view(shape)
            grid = grid.relu() * mask
    return grid


def test_equals_dense_convolutions() -> None:
    x = voxels(60)
    x = x.with_features(x.features.double())
    backbone = with_statistics(VoxelBackBone8x().double())
    with torch.no_grad():
        expected = dense_twin(backbone, x)
        torch.testing.assert_close(backbone(x).out.dense(), expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("shift", [(8, 0), (0, 8), (-8, 8)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_shift_by_eight_voxels_shifts_the_output_exactly(backbone, shift) -> None:
    x = voxels(margin=16)
    indices = x.indices + torch.tensor([0, 0, *shift])
    moved = SparseTensor.of(x.features, indices, GRID, 1)
    model = with_statistics(backbone())
    one, other = model(x).out, model(moved).out
    expected = one.indices + torch.tensor([0, 0, shift[0] // 8, shift[1] // 8])
    rows = other.sites.find(expected)
    assert len(other) == len(one)
    assert (rows >= 0).all()
    assert torch.equal(other.features[rows], one.features), "bit for bit"
    columns = compress_height(one).roll((shift[0] // 8, shift[1] // 8), (2, 3))
    assert torch.equal(compress_height(other), columns)


@torch.no_grad()
def test_a_shift_by_four_voxels_does_not() -> None:
    x, model = voxels(margin=16), with_statistics(VoxelBackBone8x())
    moved = SparseTensor.of(x.features, x.indices + torch.tensor([0, 0, 4, 4]), GRID, 1)
    assert len(model(moved).out) != len(model(x).out)


@torch.no_grad()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_order_of_voxels_and_other_grids_do_not_matter(backbone) -> None:
    x, model = voxels(batch=3), with_statistics(backbone())
    shuffle = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    expected = model(x).out.dense()
    other = model(SparseTensor.of(x.features[shuffle], x.indices[shuffle], GRID, 3)).out.dense()
    torch.testing.assert_close(other, expected, rtol=1e-5, atol=1e-6)
    mine = x.indices[:, 0] == 1
    alone = SparseTensor.of(x.features[mine], x.indices[mine] * torch.tensor([0, 1, 1, 1]), GRID, 1)
    torch.testing.assert_close(model(alone).out.dense()[0], expected[1], rtol=1e-5, atol=1e-6)
    assert expected.abs().max() > 1e-3


@torch.no_grad()
def test_a_batch_without_voxels() -> None:
    nothing = SparseTensor.of(torch.zeros(0, 4), torch.zeros(0, 4).int(), GRID, 2)
    model = VoxelBackBone8x()
    with pytest.raises(ValueError, match="at least one voxel to train on, got none in a batch of 2"):
        model(nothing)
    out = model.eval()(nothing)
    assert not compress_height(out.out).any()
    assert bev_columns(out.out).features.shape == (0, 256)
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@torch.no_grad()
def test_a_grid_without_voxels_in_a_batch() -> None:
    x = voxels()
    batch = SparseTensor.of(x.features, x.indices + torch.tensor([1, 0, 0, 0]), GRID, 3)
    model = with_statistics(VoxelBackBone8x())
    bev = compress_height(model(batch).out)
    assert not bev[0].any()
    assert not bev[2].any()
    torch.testing.assert_close(bev[1], compress_height(model(x).out)[0])


@pytest.mark.parametrize("seed", range(5))
def test_every_voxel_is_found_in_every_stage(seed) -> None:
    x = voxels(400, batch=2, seed=seed)
    with torch.no_grad():
        found = VoxelBackBone8x().eval()(x)
    stages = [*found.stages.values(), found.out, bev_columns(found.out)]
    for stage, stride in zip(stages, (1, 2, 4, 8, (16, 8, 8), (99, 8, 8)), strict=True):
        rows = locate(stage, x.indices)
        assert (rows >= 0).all()
        floor = x.indices // torch.tensor([1, *(stride if isinstance(stride, tuple) else (stride,) * 3)])
        floor[:, 1].clamp_(max=stage.spatial_shape[0] - 1)
        assert torch.equal(stage.indices[rows], floor)


def test_points_are_found_in_the_output() -> None:
    generator = torch.Generator().manual_seed(0)
    grid = VoxelGrid((0, 0, 0, 4.8, 6.4, 4), (0.1, 0.1, 0.1))
    clouds = [torch.rand(count, 4, generator=generator) * 8 - 1 for count in (50, 20)]
    batch = voxelize(clouds, grid)
    with torch.no_grad():
        columns = bev_columns(VoxelBackBone8x().eval()(batch.tensor).out)
    rows = locate_points(columns, batch)
    assert torch.equal(rows >= 0, batch.point_to_voxel >= 0)
    assert 0 < (rows >= 0).sum() < len(rows)
    inside = rows >= 0
    cells = (torch.cat(clouds)[inside, :2] / 0.8).floor().int().flip(1)
    assert torch.equal(columns.indices[rows[inside], 2:], cells)
    nothing = voxelize([torch.full((3, 4), -5.0)], grid)
    assert locate_points(columns, nothing).tolist() == [-1, -1, -1]


def test_height_compression_is_channel_major() -> None:
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = SparseTensor.of(features, torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2], [1, 1, 0, 3], [1, 0, 2, 0]]), (2, 3, 4), 2)
    bev, columns = compress_height(x), bev_columns(x)
    assert bev.shape == (2, 6, 3, 4)
    for row, (b, z, y, w) in enumerate(x.indices.tolist()):
        for channel in range(3):
            assert bev[b, 2 * channel + z, y, w] == features[row, channel]
    assert columns.indices.tolist() == [[0, 0, 1, 2], [1, 0, 0, 3], [1, 0, 2, 0]]
    torch.testing.assert_close(columns.dense()[:, :, 0], bev)
    (gradient,) = torch.autograd.grad(columns.features.square().sum(), features)
    torch.testing.assert_close(gradient, 2 * features)


def test_a_second_network_shares_the_index_maps() -> None:
    x = voxels()
    student, teacher = VoxelBackBone8x(), VoxelBackBone8x()
    one, other = student(x), teacher(x)
    assert one.out.sites is other.out.sites


def test_gradients_reach_every_parameter() -> None:
    for backbone in BACKBONES:
        model = backbone()
        model(voxels()).out.features.square().sum().backward()
        without = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
        # a bias before BatchNorm has no effect
        assert all(name.endswith(("conv1.bias", "conv2.bias")) for name in without)


def test_create_by_name() -> None:
    assert set(VOXEL_BACKBONES) == {"VoxelBackBone8x", "VoxelResBackBone8x"}
    assert isinstance(create_voxel_backbone("VoxelResBackBone8x", 5), VoxelResBackBone8x)
    with pytest.raises(ValueError, match=r"unknown voxel backbone 'PointNet'.*VoxelBackBone8x, VoxelResBackBone8x"):
        create_voxel_backbone("PointNet")


@torch.no_grad()
def test_a_real_sweep_shifted_by_one_output_cell(shared: Path) -> None:
    with tarfile.open(shared / "data" / "kitti_object_3frames" / "velodyne.tar.xz") as archive:
        content = archive.extractfile(next(member for member in archive if member.name.endswith(".bin")))
        assert content is not None
        points = torch.from_numpy(np.frombuffer(content.read(), np.float32).reshape(-1, 4).copy())
    points = points[(points[:, 0] > 8) & (points[:, 0] < 20) & (points[:, 1].abs() < 8)]
    grid = VoxelGrid((0, -12.8, -3, 25.6, 12.8, 1), (0.2, 0.2, 0.1))
    x = voxelize([points], grid).tensor
    model = with_statistics(VoxelBackBone8x())
    moved = replace(x, sites=SparseTensor.of(x.features, x.indices + torch.tensor([0, 0, 8, 8]), grid.shape, 1).sites)
    assert len(x) > 500
    assert torch.equal(compress_height(model(moved).out), compress_height(model(x).out).roll((1, 1), (2, 3)))
