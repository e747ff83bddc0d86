"""Diagnostics of scene encoders, on a toy encoder whose answers are known and on VoxelBackBone8x."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.encoders.voxel.encoder import VoxelEncoderConfig
from equissl.evaluation.drives.config import DriveEvaluateConfig
from equissl.evaluation.drives.encoding import SweepEncoder, calibrate, crop_wedge, frozen, rotate_cloud, spread
from equissl.evaluation.drives.equivariance import equivariance_scores, own_motions
from equissl.evaluation.drives.maps import principal_components
from equissl.evaluation.drives.rotation import Turned, outline, probe_accuracy
from equissl.sparse import Sites, SparseTensor

CONFIG = VoxelEncoderConfig(
    point_range=(-12.8, -12.8, -2.0, 12.8, 12.8, 2.0), voxel_size=(0.2, 0.2, 0.1), coordinates="offset"
)
CELL = 1.6
CPU = torch.device("cpu")
SETTINGS = DriveEvaluateConfig(angles=(90.0,), batch_size=2)


class Toy(nn.Module):
    """A cell's feature: the mean over its points of two functions of intensity, which turns and moves with them."""

    def __init__(self, noise: bool = False) -> None:
        super().__init__()
        self.encoder, self.noise, self.calls = CONFIG.build(), noise, 0

    def bev_features(self, clouds: list[Tensor]) -> SparseTensor:
        voxels = self.encoder.voxelize(clouds)
        cells = voxels.tensor.indices // torch.tensor([1, 64, 8, 8])
        cells, owner = cells.unique(dim=0, return_inverse=True)
        inside = voxels.point_to_voxel >= 0
        row = owner[voxels.point_to_voxel[inside]]
        intensity = torch.cat(clouds)[inside, 3]
        values = torch.stack([intensity, intensity.square()], 1).double()
        total = torch.zeros(len(cells), 2, dtype=torch.float64).index_add(0, row, values)
        features = total / torch.bincount(row, minlength=len(cells))[:, None]
        self.calls += 1
        if self.noise:
            features = torch.randn(features.shape, generator=torch.Generator().manual_seed(self.calls))
        return SparseTensor(features, Sites(cells, (1, 16, 16), len(clouds), (64, 8, 8), check=False))

    def features(self, clouds: list[Tensor]) -> dict[str, Tensor]:
        return {"all": torch.stack([cloud.mean(0) for cloud in clouds])}


class Backbone(nn.Module):
    def __init__(self, config: VoxelEncoderConfig = CONFIG) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = config.build()

    def bev_features(self, clouds: list[Tensor]) -> SparseTensor:
        return self.encoder(clouds).bev


def cloud(points: int = 200, seed: int = 0, reach: float = 8.0) -> Tensor:
    """Points at the centres of cells, so that turns by 90° and shifts by a cell take cells to cells."""
    random = torch.Generator().manual_seed(seed)
    xy = (torch.rand(points, 2, generator=random) * 2 - 1) * reach
    xy = (xy / CELL).floor() * CELL + CELL / 2
    rest = torch.rand(points, 2, generator=random)
    return torch.cat([xy, rest[:, :1] * 3 - 1.5, rest[:, 1:]], 1)


def pair(batch: int = 2, flow: tuple[float, float] = (CELL, -CELL)) -> ScenePair:
    """Everything moves by ``flow``, to the very same points."""
    previous = tuple(cloud(seed=seed) for seed in range(batch))
    step = torch.tensor([*flow, 0.0])
    current = tuple(torch.cat([c[:, :3] + step, c[:, 3:]], 1) for c in previous)
    return ScenePair(
        previous=previous,
        current=current,
        seeds=torch.arange(batch),
        drives=("a",) * batch,
        sweeps=torch.zeros(batch, 2, dtype=torch.int64),
        motion=torch.eye(4).repeat(batch, 1, 1),
        flow=tuple(step.expand(len(c), 3) for c in previous),
        flow_valid=tuple(torch.ones(len(c), dtype=torch.bool) for c in previous),
        flow_provider="test",
    )


def test_an_equivariant_encoder_has_no_error_and_the_control_without_motion_does() -> None:
    scores = equivariance_scores(SweepEncoder(Toy(), CPU), [pair(), pair(1)], SETTINGS)
    for name in ("rotation", "rotation_90", "translation", "flow", "flow_moving"):
        assert scores[name] == pytest.approx(0, abs=1e-10), name
    assert scores["flow_no_motion"] == pytest.approx(1, abs=0.25)


def test_random_features_are_as_far_as_unrelated_cells() -> None:
    scores = equivariance_scores(SweepEncoder(Toy(noise=True), CPU), [pair(8)], SETTINGS)
    for name in ("rotation", "translation", "flow", "flow_no_motion", "flow_moving"):
        assert scores[name] == pytest.approx(1, abs=0.15), name


def test_flow_of_invalid_points_is_not_used() -> None:
    batch = pair(1)
    wrong = torch.arange(len(batch.previous[0])) % 2 == 0
    flow = torch.where(wrong[:, None], torch.tensor([4.8, 4.8, 0.0]), batch.flow[0])
    batch = replace(batch, flow=(flow,), flow_valid=(~wrong,))
    assert equivariance_scores(SweepEncoder(Toy(), CPU), [batch], SETTINGS)["flow"] == pytest.approx(0, abs=1e-10)
    every = replace(batch, flow_valid=(torch.ones_like(wrong),))
    assert equivariance_scores(SweepEncoder(Toy(), CPU), [every], SETTINGS)["flow"] > 0.1


def test_without_flow_or_poses_there_is_nothing_to_measure() -> None:
    scores = equivariance_scores(SweepEncoder(Toy(), CPU), [replace(pair(), flow=None, flow_valid=None)], SETTINGS)
    assert scores["flow"] is None and scores["flow_moving"] is None and scores["rotation"] is not None
    scores = equivariance_scores(SweepEncoder(Toy(), CPU), [replace(pair(), motion=None)], SETTINGS)
    assert scores["flow_moving"] is None and scores["flow"] is not None


def test_own_motion_is_flow_without_the_cars() -> None:
    batch = pair(1)
    angle = 0.3
    motion = torch.eye(4)
    motion[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    motion[:3, 3] = torch.tensor([-1.0, 0.2, 0.0])
    own = torch.tensor([0.5, -0.25, 0.0]).expand(len(batch.previous[0]), 3)
    start = batch.previous[0][:, :3]
    flow = (start + own) @ motion[:3, :3].T + motion[:3, 3] - start
    found = own_motions(replace(batch, flow=(flow,), motion=motion[None]))[0]
    torch.testing.assert_close(found, own, atol=1e-5, rtol=0)


def test_a_shift_by_eight_voxels_is_exact_for_the_backbone_and_a_shift_by_four_is_not() -> None:
    encoder = frozen(Backbone(), CPU, [cloud(seed=3), cloud(seed=4)], 2)
    dense = torch.rand(300, 4, generator=torch.Generator().manual_seed(5)) * torch.tensor([14.0, 14.0, 3.0, 1.0])
    dense = dense - torch.tensor([7.0, 7.0, 1.5, 0.0])
    still, moved, voxels = encoder.shifted_voxels(dense, 8)
    assert voxels > 100 and len(still) > 20
    scores = equivariance_scores(encoder, [replace(pair(1), current=(dense,), flow=None, flow_valid=None)], SETTINGS)
    assert scores["translation_sites"] == 0.0
    assert 0 < scores["rotation"] < 2
    still, moved, _ = encoder.shifted_voxels(dense, 4)
    assert len(still) != len(moved) or not torch.equal(still.features.sort(0).values, moved.features.sort(0).values)


def test_calibration_gives_batch_norm_the_statistics_of_the_clouds() -> None:
    method = Backbone()
    before = {k: v.clone() for k, v in method.encoder.named_parameters()}
    clouds = [cloud(seed=6), cloud(seed=7)]
    calibrate(method.encoder, clouds, batch_size=2)
    layer = method.encoder.backbone.conv_input[1]
    inputs = method.encoder.voxelize(clouds).tensor
    hidden: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, args, __: hidden.append(args[0]))
    method.encoder(clouds)
    handle.remove()
    torch.testing.assert_close(layer.running_mean, hidden[0].mean(0), atol=1e-5, rtol=1e-4)
    assert layer.momentum == 0.01 and not method.encoder.training and len(inputs) == len(hidden[0])
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.named_parameters())


def test_wedge_and_turn() -> None:
    points = torch.tensor([[1.0, 0.0, 0.5, 0.1], [1.0, 0.9, 0.5, 0.2], [1.0, 1.1, 0.5, 0.3], [-1.0, 0.0, 0.5, 0.4]])
    assert crop_wedge(points, 90.0)[:, 3].tolist() == pytest.approx([0.1, 0.2])
    turned = rotate_cloud(points, math.pi / 2)
    torch.testing.assert_close(turned[1], torch.tensor([-0.9, 1.0, 0.5, 0.2]))


def test_sweeps_are_spread_evenly() -> None:
    assert spread(10, 10) == list(range(10)) and spread(3, 10) == [0, 1, 2]
    assert spread(100, 4) == [12, 37, 62, 87] and spread(0, 4) == []


def scenes(count: int, seed: int) -> list[Tensor]:
    """A long wall on the left and a thing far ahead: where they are tells the turn."""
    random = torch.Generator().manual_seed(seed)
    walls = []
    for _ in range(count):
        along = torch.rand(150, generator=random) * 16 - 8
        left = torch.stack([along, 4 + torch.rand(150, generator=random)], 1)
        ahead = torch.tensor([9.0, 0.0]) + torch.rand(60, 2, generator=random)
        xy = torch.cat([left, ahead])
        walls.append(torch.cat([xy, torch.zeros(len(xy), 2)], 1))
    return walls


def test_the_outline_of_a_scene_tells_its_turn_and_noise_does_not() -> None:
    config = DriveEvaluateConfig(rotations=6, bins=5)
    train = Turned.draw(scenes(24, 0), [f"d{i % 4}" for i in range(24)], config, 0)
    val = Turned.draw(scenes(12, 1), ["v"] * 12, config, 1)
    grid = CONFIG.build().grid
    view = lambda clouds: torch.stack([outline(c, grid) for c in clouds])  # noqa: E731
    found = probe_accuracy(train.show(view, 4), train, val.show(view, 4), val, 5)
    assert found > 0.8
    noise = torch.Generator().manual_seed(2)
    blind = lambda clouds: torch.randn(len(clouds), 8, generator=noise)  # noqa: E731
    assert probe_accuracy(train.show(blind, 4), train, val.show(blind, 4), val, 5) < 0.4


def test_a_scene_without_features_of_its_own_shows_its_turn_once_it_is_cropped_to_a_wedge() -> None:
    random = torch.Generator().manual_seed(0)
    round_scenes = [torch.randn(400, 4, generator=random) * torch.tensor([5.0, 5.0, 0.3, 1.0]) for _ in range(36)]
    config = DriveEvaluateConfig(rotations=6, bins=5)
    train = Turned.draw(round_scenes[:24], ["a", "b"] * 12, config, 0)
    val = Turned.draw(round_scenes[24:], ["v"] * 12, config, 1)
    grid = CONFIG.build().grid
    view = lambda clouds: torch.stack([outline(c, grid) for c in clouds])  # noqa: E731
    whole, cropped = (
        probe_accuracy(train.show(view, 4, wedge), train, val.show(view, 4, wedge), val, 5) for wedge in (None, 90.0)
    )
    assert whole < 0.45 < 0.8 < cropped


def test_turns_follow_from_the_seed_and_labels_from_the_turns() -> None:
    config = DriveEvaluateConfig(rotations=3)
    one, other = (Turned.draw(scenes(4, 0), ["a"] * 4, config, 0) for _ in range(2))
    np.testing.assert_array_equal(one.angles, other.angles)
    assert not np.array_equal(one.angles, Turned.draw(scenes(4, 0), ["a"] * 4, config, 1).angles)
    expected = np.floor((one.angles.ravel() + np.pi / 2) / (np.pi / 10))
    np.testing.assert_array_equal(one.labels.numpy(), expected)


def test_components_are_those_of_the_covariance_with_a_fixed_sign() -> None:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * torch.arange(1.0, 6.0)
    scores = principal_components(x, 3)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T))
    np.testing.assert_allclose(scores.var(0).numpy(), values[::-1][:3], rtol=1e-9)
    for k in range(3):
        axis = vectors[:, -1 - k] * np.sign(vectors[np.abs(vectors[:, -1 - k]).argmax(), -1 - k])
        np.testing.assert_allclose(scores[:, k].numpy(), (x - x.mean(0)).numpy() @ axis, atol=1e-9)
    assert principal_components(x[:, :2], 3)[:, 2].abs().max() == 0
