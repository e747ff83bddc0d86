"""What must hold of the scene-flow objective of E-SSL3D, whatever the weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from drive_cases import POINTS, make_cloud, make_pair
from torch import Tensor, nn

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.encoders.voxel import VoxelEncoderConfig
from equissl.geometry.sweep_transforms import TransformRanges
from equissl.losses import flow_distance, warp_features
from equissl.methods.drives import ESSL3D, FlowConfig
from equissl.methods.drives.scene_flow_equivariance import flow_views

# 64 x 64 x 24 voxels: 8 x 8 columns of 4 m. Offsets, so that nothing but the shape of the scene enters.
FAR = VoxelEncoderConfig(
    point_range=(-16.0, -16.0, -2.0, 16.0, 16.0, 4.0), voxel_size=(0.5, 0.5, 0.25), coordinates="offset"
)


def untrained(**options: Any) -> ESSL3D:
    """Targets equal to the online networks; q is the identity. In float64."""
    torch.manual_seed(0)
    method = ESSL3D(FAR, contrast=(), classify=(), points=POINTS, flow=FlowConfig(**options))
    method.flow.predictor = nn.Identity()
    return method.double()


def settled(method: ESSL3D, batch: ScenePair) -> ESSL3D:
    """In evaluation mode, with the statistics of a batch, which spread the features; targets as the online networks."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    method.train().step(batch)
    for name, stage in (("encoder", method.encoder), ("projector", method.projectors[method.flow.config.stage])):
        method.flow.teacher[name].load_state_dict(stage.state_dict())
    return method.eval()


def distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def moved_pair(shift: Tensor, scenes: int = 2, points: int = 150) -> ScenePair:
    """Points in the middle of voxels, and the same ones elsewhere, with the flow between them."""
    generator = torch.Generator().manual_seed(1)
    clouds = []
    for _ in range(scenes):
        cloud = make_cloud(points, generator, spread=12.0)
        cloud[:, :2] = (cloud[:, :2] / 0.5).floor() * 0.5 + 0.25
        clouds.append(cloud)
    flow = tuple(shift.expand(points, 3).contiguous() for _ in clouds)
    current = tuple(torch.cat([p[:, :3] + d, p[:, 3:]], dim=1) for p, d in zip(clouds, flow, strict=True))
    return replace(
        make_pair(scenes),
        previous=tuple(clouds),
        current=current,
        flow=flow,
        flow_valid=tuple(torch.ones(points, dtype=torch.bool) for _ in clouds),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stage", ["bev", "conv_out", "conv2"])
@pytest.mark.parametrize("cells", [(0, 0), (1, 0), (-1, 1)])
def test_a_shift_by_whole_cells_costs_nothing(cells: tuple[int, int], stage: str, training: bool) -> None:
    method, batch = (
        untrained(stage=stage, symmetric=True),
        moved_pair(torch.tensor([4.0 * cells[0], 4.0 * cells[1], 0])),
    )
    out = (method if training else settled(method, batch)).step(batch)
    assert out.loss.item() == pytest.approx(0, abs=1e-12)
    assert out.terms["valid_flow"] > 0.7 and out.terms["target_std"] > 0.05  # it compared something


def test_any_other_shift_does_cost() -> None:
    method = settled(untrained(), moved_pair(torch.tensor([4.0, 0.0, 0.0])))
    assert method.step(moved_pair(torch.tensor([2.0, 0.0, 0.0]))).terms["flow"] > 1e-2
    unmoved = moved_pair(torch.tensor([4.0, 0.0, 0.0]))
    unmoved = replace(unmoved, flow=tuple(torch.zeros_like(d) for d in unmoved.flow))
    assert method.step(unmoved).terms["flow"] > 1e-2  # the flow is what makes the difference


@pytest.mark.parametrize("views", ["same", "different"])
def test_transformed_sweeps_are_compared_at_transformed_positions(views: str) -> None:
    batch = make_pair()
    got = flow_views(batch, TransformRanges(), views, 3)
    assert torch.equal(got.previous[0], got.current[0]) is False
    plain = flow_views(batch, TransformRanges(), "plain", 3)
    # distances between points survive, but for the scale of the view
    scale = distances(got.reached[1], got.reached[1]) / distances(plain.reached[1], plain.reached[1])
    scale = scale[~torch.eye(len(scale), dtype=torch.bool)]
    torch.testing.assert_close(scale, scale.mean().expand_as(scale), atol=1e-3, rtol=0)
    assert abs(scale.mean() - 1) < 0.06 and abs(scale.mean() - 1) > 1e-4
    # a point that is in both sweeps is reached where the later sweep has it
    found = distances(got.reached[0], got.current[0][:, :3]).amin(1)
    assert (found < 1e-4).sum() >= len(batch.previous[0]) - 10


def test_points_may_come_in_any_order() -> None:
    batch, method = make_pair(), untrained()
    orders = [torch.randperm(len(cloud)) for cloud in batch.previous]
    mixed = replace(
        batch,
        **{
            name: tuple(value[order] for value, order in zip(getattr(batch, name), orders, strict=True))
            for name in ("previous", "flow", "flow_valid")
        },
        current=tuple(cloud[torch.randperm(len(cloud))] for cloud in batch.current),
    )
    torch.testing.assert_close(method.step(mixed).loss, method.step(batch).loss, rtol=1e-4, atol=0)


def test_gradients_reach_the_online_networks_alone() -> None:
    torch.manual_seed(0)
    method = ESSL3D(FAR, points=POINTS, classifier=(16,))
    views = flow_views(make_pair(), method.ranges, "plain", 3)
    method.flow(method.encoder, method.projectors["bev"], views)[0].backward()
    reached = {key for key, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    wanted = {k for k, _ in method.named_parameters() if k.startswith(("encoder.", "projectors.", "flow.predictor."))}
    assert reached == wanted and any(key.startswith("flow.teacher.") for key, _ in method.named_parameters())


def test_invalid_flow_is_never_read() -> None:
    batch, method = make_pair(), untrained().eval()
    broken = replace(
        batch,
        flow=tuple(torch.where(v[:, None], d, torch.nan) for d, v in zip(batch.flow, batch.flow_valid, strict=True)),
    )
    assert torch.equal(method.step(broken).loss, method.step(batch).loss)
    nothing = replace(batch, flow_valid=tuple(torch.zeros_like(v) for v in batch.flow_valid))
    out = method.step(nothing)
    assert out.loss == 0 and out.terms["valid_flow"] == 0
    method.train().step(nothing).loss.backward()  # nothing to compare, and nothing that breaks


def test_the_two_denominators_differ_by_the_share_of_valid_cells() -> None:
    batch = make_pair()
    whole, valid = (untrained(denominator=name).eval().step(batch).terms["flow"] for name in ("HW", "valid"))
    share = float(whole / valid)
    assert 0 < share < 1
    assert share * len(batch) * 64 == pytest.approx(round(share * len(batch) * 64), abs=1e-6)  # |M| is a whole number


def test_random_unit_features_cost_two_for_each_valid_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    z, y = (torch.randn(4000, 128, generator=generator) for _ in range(2))
    assert flow_distance(z, y).sum() / 17_391 == pytest.approx(2 * 4000 / 17_391, rel=0.01)
    # 300 times that, at 23 % of the cells valid, is the 138 that balances 156 of the contrast
    assert 300 * 0.23 * flow_distance(z, y).mean() == pytest.approx(138, rel=0.01)


def test_targets_follow_by_the_schedule_and_keep_their_own_statistics() -> None:
    method = untrained(momentum=(0.5, 1.0)).float()
    online, target = method.encoder, method.flow.teacher["encoder"]
    with torch.no_grad():
        online.backbone.conv_out[0].weight.add_(1.0)
    before = target.backbone.conv_out[0].weight.clone()
    method.step(make_pair())
    mean = target.backbone.conv_out[1].running_mean.clone()
    assert not torch.equal(mean, online.backbone.conv_out[1].running_mean)
    method.after_step(0, 10)
    torch.testing.assert_close(target.backbone.conv_out[0].weight, (before + online.backbone.conv_out[0].weight) / 2)
    assert torch.equal(target.backbone.conv_out[1].running_mean, mean)
    expected = {0: 0.999, 250: 0.99914645, 500: 0.9995, 1000: 1.0}
    scheduled = untrained().float()
    for step, momentum in expected.items():
        scheduled.after_step(step, 1000)
        assert scheduled.flow.momentum.item() == pytest.approx(momentum, abs=1e-7)


def test_warped_features_are_means_over_arriving_points() -> None:
    features = torch.arange(12, dtype=torch.float64).view(4, 3)
    source, destination = torch.tensor([0, 0, 1, 3, -1, 2]), torch.tensor([5, 5, 5, 2, 2, -1])
    cells, warped = warp_features(features, source, destination)
    assert cells.tolist() == [2, 5]
    torch.testing.assert_close(warped, torch.stack([features[3], (2 * features[0] + features[1]) / 3]))
