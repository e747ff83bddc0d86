"""Points to sites, and which sites of two views are the same."""

from __future__ import annotations

import pytest
import torch
from drive_cases import VOXELS, make_cloud, make_pair

from equissl.encoders.voxel import SweepFeatures, VoxelEncoder, VoxelEncoderConfig
from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms
from equissl.methods.drives.matching import match_pairs, match_sites, point_sites, sites_at

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv_out", "bev")


@pytest.fixture(scope="module")
def encoder() -> VoxelEncoder:
    """40 voxels along z, as on KITTI."""
    torch.manual_seed(0)
    return VoxelEncoderConfig(point_range=(-8, -8, -3, 8, 8, 1), voxel_size=(0.5, 0.5, 0.1)).build().eval()


@pytest.fixture(scope="module")
def clouds() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(make_cloud(n, generator) - torch.tensor([0, 0, 1.5, 0]) for n in (250, 180))


@pytest.fixture(scope="module")
def scene(encoder: VoxelEncoder, clouds: tuple[torch.Tensor, ...]) -> SweepFeatures:
    return encoder(clouds)


def rule(index: torch.Tensor, stage: str) -> torch.Tensor:
    """Site z, y, x of an input voxel z, y, x: halved at every strided layer; the last two layers of z are cut off."""
    halvings = {"conv1": 0, "conv2": 1, "conv3": 2}.get(stage, 3)
    for number in range(halvings):
        index = index // 2
        if number == 2:
            index[:, 0].clamp_(max=4)
    if stage in ("conv_out", "bev"):
        index[:, 0] = (index[:, 0] // 2).clamp_(max=1)
    if stage == "bev":
        index[:, 0] = 0
    return index


@pytest.mark.parametrize("stage", STAGES)
def test_every_point_in_range_has_the_site_of_the_rule(
    stage: str, encoder: VoxelEncoder, clouds: tuple[torch.Tensor, ...], scene: SweepFeatures
) -> None:
    for number, (cloud, rows) in enumerate(zip(clouds, point_sites(scene, stage), strict=True)):
        index, inside = encoder.grid.locate(cloud)
        assert 0 < (~inside).sum() < len(cloud)
        assert torch.equal(rows >= 0, inside)
        found = scene.stage(stage).indices[rows[inside]].long()
        assert (found[:, 0] == number).all()
        assert torch.equal(found[:, 1:], rule(index[inside].clone(), stage))


@pytest.mark.parametrize("stage", STAGES)
def test_positions_without_a_cloud_are_looked_up_by_the_same_rule(
    stage: str, encoder: VoxelEncoder, clouds: tuple[torch.Tensor, ...], scene: SweepFeatures
) -> None:
    for ours, theirs in zip(sites_at(encoder, scene.stage(stage), clouds), point_sites(scene, stage), strict=True):
        assert torch.equal(ours, theirs)
    broken = clouds[0].clone()
    broken[:] = float("nan")
    assert (sites_at(encoder, scene.stage(stage), (broken, clouds[1]))[0] == -1).all()


def true_pairs(first: torch.Tensor, second: torch.Tensor) -> set[tuple[int, int]]:
    return {(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True) if a >= 0 and b >= 0}


def test_pairs_share_a_point_and_stand_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(-1, 30, (400,), generator=generator) for _ in range(2))
    a, b = match_sites(first, second, most=100, seed=3)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) <= true_pairs(first, second)
    assert len(a) == len(b) == len(set(a.tolist())) == len(set(b.tolist())) > 10
    again, other = match_sites(first, second, 100, seed=3), match_sites(first, second, 100, seed=4)
    assert torch.equal(again[0], a) and not torch.equal(other[0], a)
    assert len(match_sites(first, second, most=7, seed=3)[0]) == 7
    a, b = match_sites(first, second, most=1000, seed=3, deduplicate=False)
    assert len(a) == int(((first >= 0) & (second >= 0)).sum())
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == true_pairs(first, second)


def test_the_order_of_points_does_not_change_what_can_be_drawn() -> None:
    first, second = torch.arange(50) % 20, torch.arange(50) % 20
    order = torch.randperm(50)
    a = match_sites(first, second, 100, seed=0)
    b = match_sites(first[order], second[order], 100, seed=0)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_nothing_in_common_is_no_pair() -> None:
    none = torch.full((5,), -1)
    assert [len(x) for x in match_sites(none, torch.arange(5), 10, 0)] == [0, 0]
    assert [len(x) for x in match_sites(none[:0], none[:0], 10, 0)] == [0, 0]
    with pytest.raises(ValueError, match=r"sites \(P,\) of the same points"):
        match_sites(none, none[:3], 10, 0)


def test_points_dropped_from_either_view_are_in_no_pair() -> None:
    torch.manual_seed(0)
    encoder, batch = VOXELS.build().eval(), make_pair()
    transforms = [draw_transforms(TransformRanges(), batch.seeds, view) for view in (0, 1)]
    clouds = [transform.apply(batch.current) for transform in transforms]
    scenes = [encoder(view) for view in clouds]
    sites = [point_sites(view, "bev") for view in scenes]
    drawn = match_pairs(*sites, 1000, range(4), deduplicate=False)
    for scene, (a, b) in enumerate(drawn):
        kept = [encoder.grid.locate(view[scene])[1] for view in clouds]
        both = kept[0] & kept[1]
        assert 0 < both.sum() < min(kept[0].sum(), kept[1].sum())  # each view loses points that the other one has
        assert len(a) == int(both.sum())
        assert set(zip(a.tolist(), b.tolist(), strict=True)) == true_pairs(sites[0][scene][both], sites[1][scene][both])
