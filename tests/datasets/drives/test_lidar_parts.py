"""Points in boxes, pairs, de-skewing, ground, files of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.drives.box_points import count_points_in_boxes, points_in_box
from equissl.datasets.drives.deskew import azimuth_times, deskew, rotation_vector
from equissl.datasets.drives.errors import SweepError
from equissl.datasets.drives.ground import estimate_ground
from equissl.datasets.drives.pairs.finding import find_pairs
from equissl.datasets.drives.point_files import check_intensity, check_sweep, read_floats, read_points
from equissl.datasets.drives.sweep import Sweep, invert_pose, move

RNG = np.random.default_rng(0)
SECOND = 1_000_000_000


def test_points_in_a_turned_box_are_those_of_the_unturned_one() -> None:
    local = RNG.uniform(-3, 3, (2000, 3))
    inside = (np.abs(local) <= [2, 1, 0.75]).all(axis=1)
    yaw, centre = 2.1, np.array([10.0, -5, 1])
    turned = local @ Rotation.from_euler("z", yaw).as_matrix().T + centre
    box = np.array([*centre, 4, 2, 1.5, yaw])
    assert points_in_box(turned, box).tolist() == np.flatnonzero(inside).tolist() and inside.sum() > 50
    far = box + np.array([100, 0, 0, 0, 0, 0, 0])
    assert count_points_in_boxes(turned, np.stack([box, far])).tolist() == [inside.sum(), 0]
    wider = (np.abs(local) <= [2.1, 1.1, 0.75]).all(axis=1)
    assert len(points_in_box(turned, box, margin=(0.2, 0.2, 0))) == wider.sum() > inside.sum()


def times(*seconds: float) -> np.ndarray:
    return np.array([round(s * SECOND) for s in seconds], dtype=np.int64)


def test_pairs_go_by_time_and_not_by_position() -> None:
    pairs, problems = find_pairs(times(0, 0.1, 0.2, 0.4, 0.5), 10.0)
    assert pairs.tolist() == [[0, 1], [1, 2], [3, 4]]
    assert problems == [(2, "expected the next sweep after 0.100 s (within 20 %), found it after 0.200 s")]
    assert find_pairs(times(0, 0.1, 0.2, 0.4, 0.5), 10.0, gap=2)[0].tolist() == [[0, 2], [2, 3]]


def test_pairs_of_20_hz_sweeps_two_turns_apart() -> None:
    assert find_pairs(times(*np.arange(6) * 0.05), 20.0, gap=2)[0].tolist() == [[0, 2], [1, 3], [2, 4], [3, 5]]


def test_a_part_at_another_rate_makes_no_pairs() -> None:
    mixed = times(0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
    pairs, problems = find_pairs(mixed, None)  # the median says 0.1 s
    assert pairs.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]] and [index for index, _ in problems] == [4, 5, 6]


def test_jitter_below_20_percent_is_kept_and_above_is_not() -> None:
    assert len(find_pairs(times(0, 0.119), 10.0)[0]) == len(find_pairs(times(0, 0.081), 10.0)[0]) == 1
    assert len(find_pairs(times(0, 0.121), 10.0)[0]) == len(find_pairs(times(0, 0.079), 10.0)[0]) == 0


def test_pairs_need_poses_where_any_is_known_and_no_leaps() -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = 0, 1, 2, 30
    pairs, problems = find_pairs(times(0, 0.1, 0.2, 0.3), 10.0, poses)
    assert pairs.tolist() == [[0, 1], [1, 2]] and "70 m/s" in problems[0][1] and "28.00 m" in problems[0][1]
    poses[1] = np.nan
    pairs, problems = find_pairs(times(0, 0.1, 0.2, 0.3), 10.0, poses)
    assert not len(pairs) and [index for index, _ in problems] == [0, 1, 2]
    assert len(find_pairs(times(0, 0.1, 0.2, 0.3), 10.0, np.full((4, 4, 4), np.nan))[0]) == 3
    assert find_pairs(times(0), 10.0)[0].shape == (0, 2)


@pytest.mark.parametrize("index", [0, 1])
def test_deskew_undoes_a_known_motion(index: int) -> None:
    """Points of a static world, measured while the sensor drives and turns at constant rates."""
    world = RNG.uniform(-30, 30, (400, 3))
    when = RNG.uniform(-0.05, 0.05, 400)

    def at(time: float) -> np.ndarray:
        matrix = np.eye(4)  # constant twist: the exponential of time times it
        angle = 0.6 * time
        matrix[:3, :3] = Rotation.from_euler("z", angle).as_matrix()
        matrix[:3, 3] = [12 * time, 0, 0]
        return matrix

    poses = np.stack([at(0.1 * (i - index)) for i in range(2)])
    measured = np.concatenate([move(invert_pose(at(t)), p[None]) for t, p in zip(when, world, strict=True)])
    truth = move(invert_pose(poses[index]), world)
    sweep = Sweep(measured.astype(np.float32), 0, times=when.astype(np.float32))
    fixed = deskew(sweep, poses, times(0, 0.1), index, 10.0)
    before = np.linalg.norm(measured - truth, axis=1)
    after = np.linalg.norm(fixed.points - truth, axis=1)
    # in the sensor's own frame the velocity turns by 3 degrees over a period: second order
    assert before.max() > 0.5 and after.max() < 0.06 and np.median(after) < 0.05 * np.median(before)


def test_deskew_of_a_straight_drive_is_exact_and_needs_a_neighbour() -> None:
    points = RNG.uniform(-30, 30, (100, 3)).astype(np.float32)
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = 0, 1.5, 3
    fixed = deskew(Sweep(points, 0), poses, times(0, 0.1, 0.2), 1, 10.0)
    fraction = 0.5 * np.arctan2(points[:, 1], points[:, 0]) / np.pi
    assert np.allclose(fixed.points - points, np.outer(-fraction, [1.5, 0, 0]), atol=1e-5)
    poses[[0, 2]] = np.nan
    assert deskew(Sweep(points, 0), poses, times(0, 0.1, 0.2), 1, 10.0).points is points


def test_azimuth_times_run_clockwise_from_the_back() -> None:
    around = np.array([[-1, 1e-6, 0], [0, 1, 0], [1, 0, 0], [0, -1, 0], [-1, -1e-6, 0]], np.float32)
    assert np.allclose(azimuth_times(around, 10.0), [-0.05, -0.025, 0, 0.025, 0.05], atol=1e-6)


def test_rotation_vector_is_scipys() -> None:
    for rotation in Rotation.random(20, random_state=1):
        vector = rotation_vector(rotation.as_matrix())
        assert np.allclose(vector, rotation.as_rotvec(), atol=1e-6)
    assert np.allclose(rotation_vector(np.eye(3)), 0)


def test_ground_of_a_sloping_street_with_walls_and_cars() -> None:
    xy = RNG.uniform(-40, 40, (20000, 2))
    street = np.column_stack([xy, 0.04 * xy[:, 0] - 1.7 + RNG.normal(0, 0.02, 20000)])
    wall = np.column_stack([RNG.uniform(-40, 40, 3000), np.full(3000, 20.0), RNG.uniform(0.5, 8, 3000)])
    wall[:, 2] += 0.04 * wall[:, 0] - 1.7
    car = np.column_stack([RNG.uniform(5, 9, 500), RNG.uniform(-1, 1, 500), RNG.uniform(-1.0, 0, 500)])
    label = estimate_ground(np.concatenate([street, wall, car]).astype(np.float32))
    assert label[:20000].mean() > 0.99 and label[20000:].mean() < 0.02


@pytest.mark.parametrize("suffix", [".bin", ".npy", ".ply", ".pcd", "ascii.ply", "ascii.pcd"])
def test_point_files_come_back(tmp_path: Path, suffix: str) -> None:
    values = RNG.uniform(0, 1, (7, 4)).astype(np.float32)
    path = tmp_path / f"x{suffix}"
    write_points(path, values)
    found = read_points(path, "0")
    assert np.allclose(np.stack([found[n] for n in ("x", "y", "z", "intensity")], 1), values, atol=1e-6)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - (30 if "ascii" in suffix else 6)])
    with pytest.raises(SweepError, match=r"x(ascii)?\.(bin|npy|ply|pcd): frame 7: expected"):
        read_points(path, "7")


def write_points(path: Path, values: np.ndarray) -> None:
    rows = "\n".join(" ".join(repr(float(v)) for v in row) for row in values) + "\n"
    body = rows.encode() if "ascii" in path.name else values.tobytes()
    if path.suffix == ".bin":
        path.write_bytes(body)
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".ply":
        form = "ascii" if "ascii" in path.name else "binary_little_endian"
        fields = "".join(f"property float {n}\n" for n in ("x", "y", "z", "intensity"))
        head = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex {len(values)}\n{fields}end_header\n"
        path.write_bytes(head.encode() + body)
    else:
        head = (
            "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
            f"WIDTH {len(values)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(values)}\n"
            f"DATA {'ascii' if 'ascii' in path.name else 'binary'}\n"
        )
        path.write_bytes(head.encode() + body)


def test_open3d_reads_the_same_ply_and_pcd(tmp_path: Path) -> None:
    o3d = pytest.importorskip("open3d")
    points = RNG.uniform(-9, 9, (20, 3))
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(points.astype(np.float32)))
    for name in ("a.ply", "a.pcd"):
        assert o3d.t.io.write_point_cloud(str(tmp_path / name), cloud)
        found = read_points(tmp_path / name, "0")
        assert np.allclose(np.stack([found[a] for a in "xyz"], 1), points, atol=1e-5), name


def test_damaged_points_name_file_frame_and_point(tmp_path: Path) -> None:
    path = tmp_path / "000003.bin"
    path.write_bytes(bytes(4 * 4 * 3 + 4))
    with pytest.raises(SweepError, match=r"000003\.bin: frame 3: expected a multiple of 16 bytes .* found 52 bytes"):
        read_floats(path, 4, "3")
    with pytest.raises(SweepError, match="it is missing"):
        read_floats(tmp_path / "none.bin", 4, "3")
    path.write_bytes(b"")
    with pytest.raises(SweepError, match="an empty file"):
        read_floats(path, 4, "3")
    points = np.zeros((4, 3), np.float32)
    points[2, 1] = np.nan
    with pytest.raises(SweepError, match=r"frame 3: expected finite coordinates, found 1 of 4 points without, .* 2"):
        check_sweep(Sweep(points, 0, frame="3"), path)
    points[2, 1] = 5000
    with pytest.raises(SweepError, match="within 1000 m"):
        check_sweep(Sweep(points, 0, frame="3"), path)
    with pytest.raises(SweepError, match=r"intensity in \[0, 1\] .*number of columns"):
        check_intensity(np.zeros((4, 3)), np.array([0, 0.5, 7, 1]), path, "3")
