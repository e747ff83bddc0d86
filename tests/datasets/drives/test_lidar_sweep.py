from __future__ import annotations

import pickle

import numpy as np
import pytest

from equissl.datasets.drives.sweep import (
    Boxes,
    Drive,
    Sweep,
    ego_motion,
    flow_from_own_motion,
    invert_pose,
    move,
    own_motion,
    rigid_flow,
)

POINTS = np.random.default_rng(0).uniform(-40, 40, (50, 3)).astype(np.float32)


def pose(yaw: float, x: float, y: float, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def test_one_metre_ahead_moves_every_static_point_one_metre_back() -> None:
    motion = ego_motion(pose(0, 10, 5), pose(0, 11, 5))
    assert np.allclose(rigid_flow(POINTS, motion), [-1, 0, 0], atol=1e-5)


def test_ego_motion_is_between_frames_and_not_in_world_axes() -> None:
    # heading left (+y of the world): one metre along the heading is still one metre ahead
    motion = ego_motion(pose(np.pi / 2, 4e6, 5e6), pose(np.pi / 2, 4e6, 5e6 + 1))
    assert np.allclose(rigid_flow(POINTS, motion), [-1, 0, 0], atol=1e-5)
    # a left turn on the spot turns the world to the right
    turned = ego_motion(pose(0, 0, 0), pose(np.pi / 2, 0, 0))
    assert np.allclose(rigid_flow(np.array([[1.0, 0, 0]], np.float32), turned), [[-1, -1, 0]], atol=1e-6)


def test_static_points_meet_in_the_world() -> None:
    first, second = pose(0.3, 5, -2, 1), pose(0.5, 6, -1, 1.1)
    moved = POINTS + rigid_flow(POINTS, ego_motion(first, second))
    assert np.allclose(move(second, moved), move(first, POINTS), atol=1e-4)


def test_own_motion_and_flow_are_inverse_and_own_motion_is_over_ground() -> None:
    first, second = pose(0.3, 5, -2), pose(0.7, 6, -1)
    motion = ego_motion(first, second)
    own = np.random.default_rng(1).normal(size=POINTS.shape).astype(np.float32)
    flow = flow_from_own_motion(POINTS, own, motion)
    assert np.allclose(own_motion(POINTS, flow, motion), own, atol=1e-4)
    # where the point ends up in the world does not depend on the ego
    assert np.allclose(move(second, POINTS + flow), move(first, POINTS + own), atol=1e-4)
    # the residual is the same vector in the axes of the next sweep
    assert np.allclose(flow - rigid_flow(POINTS, motion), own @ motion[:3, :3].T, atol=1e-4)


def test_invert_pose_inverts() -> None:
    poses = np.stack([pose(0.2, 1, 2, 3), pose(-2, 1e6, 2, 3)])
    assert np.allclose(invert_pose(poses) @ poses, np.eye(4), atol=1e-8)


def test_a_cut_sweep_keeps_its_columns_together() -> None:
    sweep = Sweep(POINTS, 0, intensity=np.arange(50, dtype=np.float32), flow=2 * POINTS, ground=POINTS[:, 0] > 0)
    cut = sweep.select(sweep.ground)  # type: ignore[arg-type]
    assert len(cut) == int(sweep.ground.sum()) and cut.ground.all()  # type: ignore[union-attr]
    assert np.array_equal(cut.flow, 2 * cut.points) and np.array_equal(POINTS[cut.intensity.astype(int)], cut.points)


def test_wrong_shapes_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"expected points of shape \(N, 3\), got \(50, 4\)"):
        Sweep(np.zeros((50, 4), np.float32), 0)
    with pytest.raises(ValueError, match=r"expected flow of shape \(50, 3\), got \(49, 3\)"):
        Sweep(POINTS, 0, flow=POINTS[1:])
    with pytest.raises(ValueError, match=r"expected boxes of shape \(1, 7\)"):
        Boxes(np.zeros((2, 7)), ("car",), ("1",))
    with pytest.raises(ValueError, match=r"expected velocities of shape \(1, 2\), got \(1, 3\)"):
        Boxes(np.zeros((1, 7)), ("car",), ("1",), velocities=np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"expected ground_plane of shape \(4,\), got \(3,\)"):
        Sweep(POINTS, 0, ground_plane=np.ones(3))


def test_boxes_are_selected_by_mask() -> None:
    boxes = Boxes(np.arange(21.0).reshape(3, 7), ("a", "b", "c"), ("1", "2", "3"), np.array([4, 5, 6]), np.ones((3, 2)))
    chosen = boxes.select(np.array([True, False, True]))
    assert chosen.names == ("a", "c") and chosen.tracks == ("1", "3") and chosen.num_points.tolist() == [4, 6]
    assert np.array_equal(chosen.boxes, boxes.boxes[[0, 2]]) and len(Boxes.empty()) == 0
    assert chosen.velocities.shape == (2, 2) and Boxes.empty().velocities is None  # type: ignore[union-attr]


def test_a_sequence_in_memory_has_times_and_poses() -> None:
    sweeps = [Sweep(POINTS, 5, pose=np.eye(4)), Sweep(POINTS[:3], 9)]
    sequence = Drive.of("drive", sweeps, rate=10.0, seed=3)
    assert sequence.timestamps.tolist() == [5, 9] and len(sequence[-1]) == 3 and sequence.attributes == {"seed": 3}
    assert np.array_equal(sequence.poses[0], np.eye(4)) and np.isnan(sequence.poses[1]).all()  # type: ignore[index]
    assert [len(sweep) for sweep in sequence] == [50, 3]
    assert len(pickle.loads(pickle.dumps(sequence))[1]) == 3
    with pytest.raises(IndexError, match=r"expected a sweep in 0\.\.1 of drive, got 2"):
        sequence[2]
