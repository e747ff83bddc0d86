"""Waymo v2: files made by hand in the schema of the data set, as its bytes may not be passed on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.range_image import RangeSensor, image_to_points, pixel_poses_to_rigid
from equissl.datasets.drives.readers import open_reader
from equissl.datasets.drives.sweep import move

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
TIMES = [1_550_083_467_346_370, 1_550_083_467_446_370]
HEIGHT, WIDTH = 4, 16
TOP_BEAMS = [-0.3, -0.1, 0.0, 0.05]  # from the lowest up, unevenly spaced


def rigid(yaw: float, *shift: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    matrix[:3, 3] = shift
    return matrix


EXTRINSICS = {1: rigid(2.6, 1.4, 0, 2.2), 5: rigid(np.pi, -1.1, 0, 0.5)}
POSES = [rigid(0.2, 1000, 2000, 30), rigid(0.22, 1001.2, 2000.3, 30)]


def images(seed: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for laser in EXTRINSICS:
        image = rng.uniform(2, 60, (HEIGHT, WIDTH, 4)).astype(np.float32)
        image[..., 0][rng.uniform(size=(HEIGHT, WIDTH)) < 0.4] = -1
        image[..., 1] = rng.uniform(0, 3, (HEIGHT, WIDTH))
        found[laser] = image
    return found


def pixel_poses(frame: int) -> np.ndarray:
    """The car drives on while the sensor turns: another pose in every column."""
    values = np.zeros((HEIGHT, WIDTH, 6), dtype=np.float32)
    values[..., 0], values[..., 1] = 0.01, -0.02
    values[..., 2] = 0.2 + 0.02 * frame + np.linspace(-0.01, 0.01, WIDTH)
    values[..., 3] = 1000 + 1.2 * frame + np.linspace(-0.6, 0.6, WIDTH)
    values[..., 4], values[..., 5] = 2000 + 0.3 * frame, 30
    return values


def list_column(arrays: list, kind: object) -> object:
    return pa.array([np.asarray(a).ravel().tolist() for a in arrays], pa.list_(kind))


def write(root: Path, part: str, columns: dict, groups: int | None = None) -> None:
    path = root / "training" / part / "segment-1.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"key.segment_context_name": pa.array(["segment-1"] * len(next(iter(columns.values()))))}
    pq.write_table(pa.table({**names, **columns}), path, row_group_size=groups)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [(t, laser, images(i)[laser]) for i, t in enumerate(TIMES) for laser in EXTRINSICS]
    image = "[LiDARComponent].range_image_return1"
    micros = "key.frame_timestamp_micros"
    write(tmp_path, "lidar", {
        micros: pa.array([r[0] for r in rows], pa.int64()),
        "key.laser_name": pa.array([r[1] for r in rows], pa.int8()),
        f"{image}.values": list_column([r[2] for r in rows], pa.float32()),
        f"{image}.shape": list_column([r[2].shape for r in rows], pa.int32()),
    }, groups=3)  # fmt: skip
    pose = "[LiDARPoseComponent].range_image_return1"
    write(tmp_path, "lidar_pose", {
        micros: pa.array(TIMES, pa.int64()),
        "key.laser_name": pa.array([1, 1], pa.int8()),
        f"{pose}.values": list_column([pixel_poses(0), pixel_poses(1)], pa.float32()),
        f"{pose}.shape": list_column([(HEIGHT, WIDTH, 6)] * 2, pa.int32()),
    })  # fmt: skip
    calibration = "[LiDARCalibrationComponent]"
    write(tmp_path, "lidar_calibration", {
        "key.laser_name": pa.array([*EXTRINSICS], pa.int8()),
        f"{calibration}.extrinsic.transform": pa.array(
            [e.ravel().tolist() for e in EXTRINSICS.values()], pa.list_(pa.float64(), 16)
        ),
        f"{calibration}.beam_inclination.min": pa.array([-0.35, -1.5]),
        f"{calibration}.beam_inclination.max": pa.array([0.06, 0.5]),
        f"{calibration}.beam_inclination.values": pa.array([TOP_BEAMS, None], pa.list_(pa.float64())),
    })  # fmt: skip
    write(tmp_path, "vehicle_pose", {
        micros: pa.array(TIMES[::-1], pa.int64()),
        "[VehiclePoseComponent].world_from_vehicle.transform": pa.array(
            [p.ravel().tolist() for p in POSES[::-1]], pa.list_(pa.float32(), 16)
        ),
    })  # fmt: skip
    box = "[LiDARBoxComponent]"
    write(tmp_path, "lidar_box", {
        micros: pa.array([TIMES[1], TIMES[1]], pa.int64()),
        "key.laser_object_id": pa.array(["a", "b"]),
        f"{box}.type": pa.array([1, 4], pa.int8()),
        f"{box}.num_lidar_points_in_box": pa.array([7, None], pa.int64()),
        **{f"{box}.box.center.{a}": pa.array([v, v + 10]) for a, v in zip("xyz", (1.0, 2.0, 3.0), strict=True)},
        **{f"{box}.box.size.{a}": pa.array([v, v]) for a, v in zip("xyz", (4.5, 2.0, 1.5), strict=True)},
        f"{box}.box.heading": pa.array([0.5, -0.5]),
    })  # fmt: skip
    return tmp_path


def expected_points(frame: int) -> tuple[np.ndarray, list[float]]:
    """One pixel at a time, by the definition."""
    points, intensity = [], []
    for laser, image in images(frame).items():
        extrinsic = EXTRINSICS[laser]
        for row in range(HEIGHT):
            for column in range(WIDTH):
                distance = float(image[row, column, 0])
                if distance <= 0:
                    continue
                up = TOP_BEAMS[HEIGHT - 1 - row] if laser == 1 else -1.5 + (HEIGHT - 1 - row + 0.5) / HEIGHT * 2.0
                turn = math.atan2(extrinsic[1, 0], extrinsic[0, 0])
                azimuth = (2 * (WIDTH - column - 0.5) / WIDTH - 1) * math.pi - turn
                ray = [math.cos(up) * math.cos(azimuth), math.cos(up) * math.sin(azimuth), math.sin(up)]
                point = extrinsic[:3, :3] @ (distance * np.array(ray)) + extrinsic[:3, 3]
                if laser == 1:
                    roll, pitch, yaw, *shift = pixel_poses(frame)[row, column].astype(np.float64)
                    world = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix() @ point + shift
                    vehicle = POSES[frame].astype(np.float32).astype(np.float64)
                    point = vehicle[:3, :3].T @ (world - vehicle[:3, 3])
                points.append(point)
                intensity.append(math.tanh(image[row, column, 1]))
    return np.array(points), intensity


@pytest.mark.parametrize("frame", [0, 1])
def test_points_are_those_of_the_definition(root: Path, frame: int) -> None:
    sequence = open_reader("waymo", root).open("segment-1")
    sweep = sequence[frame]
    points, intensity = expected_points(frame)
    assert sweep.points.shape == points.shape and np.allclose(sweep.points, points, atol=2e-3)
    assert np.allclose(sweep.intensity, intensity, atol=1e-6)  # type: ignore[arg-type]
    assert np.allclose(sweep.pose, POSES[frame], atol=1e-4)  # type: ignore[arg-type]


def test_segment_times_boxes_and_split(root: Path) -> None:
    reader = open_reader("waymo", root)
    sequence = reader.open("segment-1")
    assert reader.names() == ["segment-1"] and sequence.timestamps.tolist() == [t * 1000 for t in TIMES]
    assert sequence.attributes == {"split": "training"} and not reader.problems
    assert open_reader("waymo", root / "training").names() == ["segment-1"]
    first, second = sequence[0].boxes, sequence[1].boxes
    assert len(first) == 0 and second.names == ("vehicle", "cyclist") and second.tracks == ("a", "b")  # type: ignore[arg-type, union-attr]
    assert np.allclose(second.boxes[0], [1, 2, 3, 4.5, 2, 1.5, 0.5]) and second.num_points.tolist() == [7, 0]  # type: ignore[union-attr]


def test_velocities_are_those_of_the_tracks(root: Path) -> None:
    path = root / "training" / "lidar_box" / "segment-1.parquet"
    table = pq.read_table(path)
    place, micros = table.column_names.index("key.frame_timestamp_micros"), pa.array(TIMES, pa.int64())
    same = table.set_column(
        table.column_names.index("key.laser_object_id"), "key.laser_object_id", pa.array(["a", "a"])
    )
    pq.write_table(same.set_column(place, "key.frame_timestamp_micros", micros), path)
    sequence = open_reader("waymo", root).open("segment-1")
    seconds = (TIMES[1] - TIMES[0]) * 1e-6
    step = POSES[1] @ [11, 12, 13, 1] - POSES[0] @ [1, 2, 3, 1]
    for index in (0, 1):
        sweep = sequence[index]
        expected = POSES[index][:3, :3].T @ step[:3] / seconds
        assert np.allclose(sweep.boxes.velocities, [expected[:2]], atol=1e-2)  # type: ignore[union-attr]
        assert np.array_equal(sweep.vehicle_lidar, np.eye(4))  # type: ignore[arg-type]


def test_the_middle_column_looks_ahead_and_columns_run_clockwise() -> None:
    ranges = np.zeros((1, 4))
    ranges[0] = 10
    points, kept = image_to_points(ranges, RangeSensor(np.eye(4), 0, 0))
    assert kept.all() and np.allclose(np.rad2deg(np.arctan2(points[:, 1], points[:, 0])), [135, 45, -45, -135])
    turned = rigid(1.0, 0, 0, 0)  # a sensor mounted askew: azimuth 0 of the image still is the vehicle's forward
    assert np.allclose(image_to_points(ranges, RangeSensor(turned, 0, 0))[0], points)


def test_pixel_poses_are_scipys_extrinsic_angles() -> None:
    values = RNG.uniform(-3, 3, (10, 6))
    expected = Rotation.from_euler("xyz", values[:, :3]).as_matrix()
    poses = pixel_poses_to_rigid(values)
    assert np.allclose(poses[:, :3, :3], expected) and np.allclose(poses[:, :3, 3], values[:, 3:])
    assert np.allclose(move(poses[0], np.zeros((1, 3))), values[:1, 3:])


def test_damage_is_named(root: Path) -> None:
    path = root / "training" / "vehicle_pose" / "segment-1.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)  # the later one
    reader = open_reader("waymo", root)
    sequence = reader.open("segment-1")
    with pytest.raises(SweepError, match=rf"vehicle_pose.*frame {TIMES[0]}: expected a pose"):
        sequence[0]
    assert len(sequence[1]) and "expected a pose of this time" in str(reader.problems[0])
    calibration = root / "training" / "lidar_calibration" / "segment-1.parquet"
    pq.write_table(pq.read_table(calibration).slice(0, 1), calibration)
    with pytest.raises(SweepError, match=r"expected a calibration of laser 5, found \[1\]"):
        open_reader("waymo", root).open("segment-1")[1]
    calibration.unlink()
    with pytest.raises(IngestError, match=r"expected a component at .*lidar_calibration"):
        open_reader("waymo", root).open("segment-1")
    lidar = root / "training" / "lidar" / "segment-1.parquet"
    lidar.write_bytes(lidar.read_bytes()[:100])
    with pytest.raises(IngestError, match="expected a whole Parquet file"):
        open_reader("waymo", root).open("segment-1")
    lidar.unlink()
    with pytest.raises(IngestError, match=r"(?s)no segments at.*found:\n  training/"):
        open_reader("waymo", root).names()
