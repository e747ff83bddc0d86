"""Transforms of scenes against rotation matrices of scipy, closed forms, and the properties that they must keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from equissl.datasets.drives.box_points import points_in_box
from equissl.geometry.sweep_transforms import (
    SweepTransform,
    TransformRanges,
    draw_transforms,
    flip_class,
    rotation_class,
    scale_class,
    sweep_transform,
    transform_boxes,
    transform_cloud,
    transform_flow_pair,
    transform_vectors,
    transform_velocities,
    translation_class,
)

WIDE = TransformRanges(scale=(0.5, 2.0), translation=(-3.0, 3.0), flip_x=0.5)
SEEDS = st.integers(0, 2**62)


def one(angle: float = 0.0, scale: float = 1.0, shift: tuple = (0.0, 0.0, 0.0), flip: int = 0) -> SweepTransform:
    parts = torch.tensor([angle]), torch.tensor([scale]), torch.tensor([shift]), torch.tensor([flip])
    return sweep_transform(*parts)


def cloud(seed: int = 0, points: int = 50) -> torch.Tensor:
    return torch.randn(points, 4, generator=torch.Generator().manual_seed(seed)) * 10


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_mirror_comes_first_then_turn_then_scale_then_shift(seed: int) -> None:
    drawn = draw_transforms(WIDE, torch.tensor([seed]), 0).item(0)
    points = cloud().double().numpy()[:, :3]
    flip = int(drawn.flip)
    mirror = np.diag([-1.0 if flip & 2 else 1.0, -1.0 if flip & 1 else 1.0, 1.0])
    turned = Rotation.from_euler("z", float(drawn.angle)).apply(points @ mirror)
    expected = float(drawn.scale) * turned + drawn.shift.numpy()
    found = transform_cloud(cloud(), drawn.matrix)
    assert_close(found[:, :3].double(), torch.from_numpy(expected), atol=2e-5, rtol=1e-5)
    assert torch.equal(found[:, 3], cloud()[:, 3])  # intensity


def test_mirroring_last_would_give_another_matrix() -> None:
    both = one(angle=0.6, flip=1).item(0).matrix
    mirror, turn = one(flip=1).item(0).matrix, one(angle=0.6).item(0).matrix
    assert_close(both, turn @ mirror)
    assert not torch.allclose(both, mirror @ turn, atol=0.1)
    assert_close(mirror @ turn, one(angle=-0.6, flip=1).item(0).matrix)  # the label would be -θ


def test_flow_of_a_forward_drive_turned_by_90_degrees() -> None:
    matrix = one(angle=math.pi / 2, scale=1.05, shift=(5.0, 6.0, 7.0)).item(0).matrix
    found = transform_vectors(torch.tensor([[-1.0, 0.0, 0.0]]), matrix)
    assert_close(found, torch.tensor([[0.0, -1.05, 0.0]]), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_flow_takes_the_linear_part(seed: int) -> None:
    points, flow = cloud(1)[:, :3], cloud(2)[:, :3]
    first, second = draw_transforms(WIDE, torch.tensor([seed, seed + 1]), 0).matrix
    same = transform_flow_pair(points, flow, first, first)
    assert_close(same, transform_vectors(flow, first), atol=1e-4, rtol=1e-4)
    assert_close(same, transform_cloud(points + flow, first) - transform_cloud(points, first))
    # with a transform for each sweep, transformed point and transformed flow end at the transformed destination
    other = transform_flow_pair(points, flow, first, second)
    assert_close(transform_cloud(points, first) + other, transform_cloud(points + flow, second), atol=1e-4, rtol=1e-4)


def test_velocities_by_hand() -> None:
    forward = torch.tensor([[2.0, 1.0], [math.nan, 1.0]])
    moves = {
        "mirror y": (one(flip=1), [2.0, -1.0]),
        "mirror x": (one(flip=2), [-2.0, 1.0]),
        "quarter turn": (one(angle=math.pi / 2), [-1.0, 2.0]),
        "scale": (one(scale=1.05, shift=(5.0, 6.0, 7.0)), [2.1, 1.05]),
        "mirror, then turn": (one(angle=math.pi / 2, flip=1), [1.0, 2.0]),
    }
    for name, (transform, expected) in moves.items():
        found = transform_velocities(forward, transform.item(0).matrix)
        assert_close(found[0], torch.tensor(expected), atol=1e-6, rtol=0, msg=name)
        assert bool(found[1].isnan().all())


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_boxes_stay_on_their_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = np.array([*rng.uniform(-20, 20, 3), *rng.uniform(1, 5, 3), rng.uniform(-4, 4)])
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * box[3:6] / 2
    turn = Rotation.from_euler("z", box[6])
    inside, outside = (turn.apply(corners * share) + box[:3] for share in (0.98, 1.02))
    drawn = draw_transforms(WIDE, torch.tensor([seed]), 3).item(0)
    moved = transform_boxes(torch.from_numpy(box[None]), drawn)[0].numpy()
    for corner_points, count in ((inside, 8), (outside, 0)):
        found = transform_cloud(torch.from_numpy(corner_points).float(), drawn.matrix).numpy()
        assert len(points_in_box(found, moved)) == count
    assert -math.pi <= moved[6] <= math.pi
    nose = turn.apply([[1.0, 0.0, 0.0]])[0]
    ahead = transform_vectors(torch.from_numpy(nose[None]).float(), drawn.matrix)[0].numpy()
    expected = ahead[:2] / np.linalg.norm(ahead[:2])
    np.testing.assert_allclose([math.cos(moved[6]), math.sin(moved[6])], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("flip", "heading"), [(0, 0.3 + 0.2), (1, -0.3 + 0.2), (2, math.pi - 0.3 + 0.2), (3, 0.3 + math.pi + 0.2)]
)
def test_headings_of_mirrored_boxes(flip: int, heading: float) -> None:
    box = torch.tensor([[1.0, 2.0, 3.0, 4.0, 2.0, 1.5, 0.3]], dtype=torch.float64)
    found = float(transform_boxes(box, one(angle=0.2, flip=flip).item(0))[0, 6])
    assert math.isclose(math.remainder(found - heading, 2 * math.pi), 0, abs_tol=1e-6)


def test_draws_depend_on_seed_and_view_alone() -> None:
    seeds = torch.tensor([5, 2**62, 9])
    whole = draw_transforms(TransformRanges(), seeds, 1)
    for row, seed in enumerate(seeds):
        alone = draw_transforms(TransformRanges(), seed[None], 1)
        torch.testing.assert_close(alone.matrix[0], whole.matrix[row])  # products of one matrix and of three
    assert not torch.equal(whole.matrix, draw_transforms(TransformRanges(), seeds, 0).matrix)
    assert len(draw_transforms(TransformRanges(), seeds[:0], 0)) == 0


def test_narrowing_one_range_leaves_the_other_draws() -> None:
    seeds = torch.arange(20)
    still = replace(TransformRanges(), rotation=(0.0, 0.0), flip=0.0)
    a, b = draw_transforms(TransformRanges(), seeds, 0), draw_transforms(still, seeds, 0)
    assert torch.equal(a.scale, b.scale) and torch.equal(a.shift, b.shift)
    assert float(b.angle.abs().max()) == 0 and int(b.flip.max()) == 0


def test_draws_fill_their_ranges_evenly() -> None:
    drawn = draw_transforms(TransformRanges(), torch.arange(4000), 0)
    for values, low, high in ((drawn.angle, -math.pi / 2, math.pi / 2), (drawn.scale, 0.95, 1.05)):
        assert low <= float(values.min()) and float(values.max()) <= high
        assert abs(float(values.mean()) - (low + high) / 2) < 0.03 * (high - low)
    assert float(drawn.shift.min()) >= 0 and float(drawn.shift.max()) <= 0.2
    assert abs(float(drawn.flip.float().mean()) - 0.5) < 0.04
    counts = torch.bincount(rotation_class(drawn.angle), minlength=10)
    assert int(counts.min()) > 320 and int(counts.max()) < 480  # 400 expected, standard deviation 19


def test_discrete_angles_are_the_middles_of_their_bins() -> None:
    drawn = draw_transforms(TransformRanges(sampling="discrete"), torch.arange(300), 0)
    middles = torch.arange(-81, 82, 18)
    assert_close(drawn.angle.rad2deg().unique(), middles.float())
    assert_close(middles[rotation_class(drawn.angle)].float(), drawn.angle.rad2deg())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotation_classes(dtype: torch.dtype) -> None:
    angles = torch.tensor([-90, -72, -0.01, 0, 18, 89.99], dtype=torch.float64).deg2rad().to(dtype)
    assert rotation_class(angles).tolist() == [0, 1, 4, 5, 6, 9]
    assert rotation_class(torch.tensor([-2.0, 2.0])).tolist() == [0, 9]


def test_other_classes() -> None:
    assert scale_class(torch.tensor([0.95, 0.971, 1.0, 1.049, 1.05])).tolist() == [0, 1, 2, 4, 4]
    assert translation_class(torch.tensor([[0.0, 0.05, 0.2]])).tolist() == [[0, 1, 4]]
    assert flip_class(torch.tensor([0, 1, 2, 3])).tolist() == [0, 1, 0, 1]
    assert flip_class(torch.tensor([0, 1, 2, 3]), both_axes=True).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"at least one bin over low < high, got 10 over 0\.5\.\.0\.5"):
        rotation_class(torch.zeros(1), 10, 0.5, 0.5)


def test_identity_and_apply() -> None:
    clouds = [cloud(1, 5), cloud(2, 0)]
    nothing = sweep_transform(torch.zeros(2), torch.ones(2), torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    assert all(torch.equal(a, b) for a, b in zip(nothing.apply(clouds), clouds, strict=True))
    with pytest.raises(ValueError, match="expected 2 clouds, as there are transforms, got 1"):
        nothing.apply(clouds[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation": (1.0, -1.0)}, r"expected rotation as \(lowest, highest\), got \[1.0, -1.0\]"),
        ({"scale": (0.0, 1.0)}, "expected a scale above 0"),
        ({"flip": 1.5}, "expected flip and flip_x in 0..1, got 1.5"),
        ({"rotation_bins": 0}, "expected rotation_bins of at least 1"),
        ({"sampling": "both"}, "sampling='both'"),
    ],
)
def test_impossible_ranges(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformRanges(**options)
