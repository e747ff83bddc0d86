"""Clouds to features: voxels, columns, pooling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equissl.encoders.voxel import VoxelEncoder, VoxelEncoderConfig
from equissl.encoders.voxel.encoder import thin_out

# 32 x 32 x 24 voxels
SMALL = VoxelEncoderConfig(point_range=(-8, -8, -2, 8, 8, 4), voxel_size=(0.5, 0.5, 0.25))


def make_cloud(points: int, seed: int = 0) -> torch.Tensor:
    box = torch.tensor([17.0, 17.0, 6.0, 1.0])
    return torch.rand(points, 4, generator=torch.Generator().manual_seed(seed)) * box - torch.tensor([8.5, 8.5, 2.0, 0])


def build(**changes: object) -> VoxelEncoder:
    torch.manual_seed(0)
    return replace(SMALL, **changes).build()


def test_sizes_of_the_default() -> None:
    encoder = VoxelEncoderConfig().build()
    assert encoder.grid.shape == (40, 1600, 1408) and encoder.bev_shape == (200, 176) and encoder.feature_dim == 256
    channels = {"conv1": 16, "conv2": 32, "conv3": 64, "conv4": 64, "conv_out": 128, "bev": 256}
    assert encoder.channels == channels
    assert sum(p.numel() for p in encoder.parameters()) == 711_872
    assert all(key.startswith("backbone.") for key in encoder.state_dict())
    residual = VoxelEncoderConfig(backbone="VoxelResBackBone8x").build()
    assert sum(p.numel() for p in residual.parameters()) == 2_694_880 and residual.channels["conv4"] == 128


def test_every_stage_has_its_channels() -> None:
    encoder = build()
    scene = encoder([make_cloud(150), make_cloud(90, 1)])
    for name, channels in encoder.channels.items():
        assert scene.stage(name).features.shape[1] == channels
        assert scene.stage(name).batch_size == 2
    assert scene.bev.spatial_shape == (1, *encoder.bev_shape)


def test_pooling_is_the_mean_and_maximum_over_columns() -> None:
    encoder = build()
    scene = encoder([make_cloud(150), torch.zeros(0, 4), make_cloud(90, 1) + 100, make_cloud(60, 2)])
    pooled = encoder.pool(scene.bev)
    assert pooled.shape == (4, 256) and (pooled[1:3] == 0).all()
    for number in (0, 3):
        columns = scene.bev.features[scene.bev.indices[:, 0] == number]
        torch.testing.assert_close(pooled[number], torch.cat([columns.mean(0), columns.amax(0)]))
    order = torch.randperm(len(scene.bev))
    shuffled = replace(scene.bev, features=scene.bev.features[order], sites=shuffle(scene.bev.sites, order))
    torch.testing.assert_close(encoder.pool(shuffled), pooled)


def shuffle(sites, order):
    return type(sites)(sites.indices[order], sites.spatial_shape, sites.batch_size, sites.stride)


def test_offsets_make_features_independent_of_place() -> None:
    """A shift by eight voxels is one by a column; absolute coordinates tell the two apart."""
    cloud = make_cloud(80) * torch.tensor([0.15, 0.15, 1.0, 1.0])
    cloud[:, :2] = (cloud[:, :2] * 4).floor() / 4 + 0.125  # exact in binary, and so are their sums
    moved = cloud - torch.tensor([4.0, 0, 0, 0])
    for coordinates, equal in (("offset", True), ("absolute", False)):
        encoder = build(coordinates=coordinates).eval()
        first, second = encoder([cloud]).bev, encoder([moved]).bev
        assert torch.equal(first.indices - torch.tensor([0, 0, 0, 1]), second.indices)
        assert torch.equal(first.features, second.features) == equal


def test_dense_clouds_are_thinned_out_evenly() -> None:
    clouds = [make_cloud(400), make_cloud(30, 1), torch.zeros(0, 4)]
    whole, thin = build().voxelize(clouds), build(max_voxels=100).voxelize(clouds)
    counts = torch.bincount(whole.tensor.indices[:, 0], minlength=3)
    assert torch.bincount(thin.tensor.indices[:, 0], minlength=3).tolist() == [100, int(counts[1]), 0]
    # a point whose voxel stays finds it; the others have none
    rows = (voxels.point_to_voxel.split(voxels.sizes) for voxels in (whole, thin))
    for cloud, before, after in zip(clouds, *rows, strict=True):
        kept = after >= 0
        assert torch.equal(whole.tensor.indices[before[kept]], thin.tensor.indices[after[kept]])
        assert torch.equal(whole.tensor.features[before[kept]], thin.tensor.features[after[kept]])
        assert len(cloud) < 100 or 0.2 < kept.float().mean() < 0.5
    # from all over the scene
    assert thin.tensor.indices[thin.tensor.indices[:, 0] == 0][:, 1].unique().numel() > 15
    assert len(thin_out(whole, 10_000).tensor) == len(whole.tensor)
    assert torch.isfinite(build(max_voxels=100)(clouds).bev.features).all()


def test_layers_behind_a_stage_can_be_left_out_of_training() -> None:
    encoder = build()
    encoder.freeze_after("conv3")
    frozen = {name.split(".")[1] for name, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {"conv4", "conv_out"}
    encoder = build()
    encoder.freeze_after("bev")
    assert all(p.requires_grad for p in encoder.parameters())


def test_further_columns_are_left_aside_and_missing_ones_named() -> None:
    encoder = build().eval()
    cloud = make_cloud(100)
    wide = torch.cat([cloud, torch.randn(100, 2)], dim=1)
    assert torch.equal(encoder([cloud]).bev.features, encoder([wide]).bev.features)
    with pytest.raises(ValueError, match=r"expected clouds \(P, 4\), got \[\(100, 3\)\]"):
        encoder([cloud[:, :3]])
    assert build(in_channels=3)([cloud[:, :3]]).bev.features.shape[1] == 128
    with pytest.raises(ValueError, match="max_voxels of at least 1"):
        build(max_voxels=0)
    with pytest.raises(ValueError, match="'absolute' or 'offset', got 'polar'"):
        build(coordinates="polar")
    with pytest.raises(ValueError, match="at least 24 voxels along z"):
        build(voxel_size=(0.5, 0.5, 0.5))


def test_momentum_of_running_statistics() -> None:
    """One step in training mode moves running means from 0 by ``norm_momentum`` of the batch's."""
    means = []
    for momentum in (0.01, 0.1):
        encoder = build(norm_momentum=momentum).train()
        encoder([make_cloud(300)])
        norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm1d)]
        means.append(torch.cat([norm.running_mean for norm in norms]))
    assert means[0].abs().max() > 0
    torch.testing.assert_close(means[1], 10 * means[0])
    with pytest.raises(ValueError, match="norm_momentum above 0 and at most 1, got 0"):
        build(norm_momentum=0.0)
