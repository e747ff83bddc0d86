"""KITTI-360, nuScenes and Argoverse 2 on real bytes."""

from __future__ import annotations

import json
from pathlib import Path

import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.checks import alignment
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.readers import open_reader
from equissl.datasets.drives.sweep import ego_motion, move, rigid_flow

LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
OTHER_LOG = "adcf7d18-0510-35b0-a2fa-b4cea13a6d76"


@pytest.fixture(scope="module")
def argoverse2(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    return layouts.argoverse2(shared, tmp_path_factory.mktemp("av2"))


@pytest.fixture(scope="module")
def kitti360(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.kitti360(shared, tmp_path_factory.mktemp("kitti360"))


def test_argoverse2_points_in_boxes_are_as_stated(argoverse2: Path) -> None:
    reader = open_reader("argoverse2", argoverse2)
    assert reader.names() == [LOG, OTHER_LOG] and not reader.problems
    expected = {LOG: [(99_229, 81, 9_399), (99_466, 81, 9_289)], OTHER_LOG: [(100_660, 47, None)]}
    for name, rows in expected.items():
        sequence = reader.open(name)
        assert len(sequence) == len(rows) and sequence.attributes == {"split": "val"}
        for sweep, (points, boxes, inside) in zip(sequence, rows, strict=True):
            counts = count_points_in_boxes(sweep.points, sweep.boxes.boxes)  # type: ignore[union-attr]
            assert (len(sweep), len(counts)) == (points, boxes)
            assert np.array_equal(counts, sweep.boxes.num_points)  # type: ignore[union-attr]
            assert inside is None or counts.sum() == inside


def test_argoverse2_times_intensity_and_alignment(argoverse2: Path) -> None:
    sequence = open_reader("argoverse2", argoverse2).open(LOG)
    assert sequence.timestamps.tolist() == [315966265259836000, 315966265360032000]
    first, second = sequence[0], sequence[1]
    assert first.times.min() >= 0 and 0.09 < first.times.max() < 0.11  # type: ignore[union-attr]
    assert first.intensity.min() >= 0 and 0.5 < first.intensity.max() <= 1  # type: ignore[union-attr]
    aligned, unaligned = alignment(first, second)
    assert aligned < 0.05 < unaligned


def test_argoverse2_flow_of_the_static_world_is_the_ego_motion(argoverse2: Path) -> None:
    sequence = open_reader("argoverse2", argoverse2).open(LOG)
    first, second = sequence[0], sequence[1]
    assert first.flow_provider == "labels" and first.flow_valid.all() and second.flow is None  # type: ignore[union-attr]
    residual = np.linalg.norm(first.flow - rigid_flow(first.points, ego_motion(first.pose, second.pose)), axis=1)  # type: ignore[arg-type]
    background = first.flow_classes == 0
    assert background.sum() == 89_832 and residual[background].max() < 0.01
    assert (residual >= 0.05).mean() < 0.03 < 0.1 < residual.max()
    assert 0.1 < first.ground.mean() < 0.3  # type: ignore[union-attr]


def test_argoverse2_damage_is_named(argoverse2: Path, tmp_path: Path) -> None:
    import shutil

    from pyarrow import feather

    root = tmp_path / "copy"
    shutil.copytree(argoverse2, root)
    log = root / "val" / LOG
    sweep = log / "sensors" / "lidar" / "315966265360032000.feather"
    sweep.write_bytes(sweep.read_bytes()[:5000])
    labels = feather.read_table(log / "flow_labels.feather")
    feather.write_feather(labels.slice(0, 100), log / "flow_labels.feather")
    sequence = open_reader("argoverse2", root).open(LOG)
    with pytest.raises(SweepError, match=r"315966265360032000\.feather: frame 315966265360032000: expected a whole"):
        sequence[1]
    with pytest.raises(SweepError, match="expected a label for each of 99229 points, found 100"):
        sequence[0]
    poses = feather.read_table(log / "city_SE3_egovehicle.feather")
    keep = poses["timestamp_ns"].to_numpy() != 315966265360032000
    feather.write_feather(poses.filter(keep), log / "city_SE3_egovehicle.feather")
    reader = open_reader("argoverse2", root)
    assert np.isnan(reader.open(LOG).poses).any(axis=(1, 2)).tolist() == [False, True]  # type: ignore[arg-type]
    assert "expected a pose of exactly this time" in str(reader.problems[0])
    feather.write_feather(poses.drop_columns(["qw"]), log / "city_SE3_egovehicle.feather")
    with pytest.raises(IngestError, match=r"expected columns timestamp_ns, qw.*city_SE3.*qw not among: timestamp_ns"):
        open_reader("argoverse2", root).open(LOG)


def test_argoverse2_wrong_folder_and_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(
        IngestError, match=r"(?s)no sweeps at <log>/sensors/lidar.*city_SE3_egovehicle.*an empty folder"
    ):
        open_reader("argoverse2", tmp_path).names()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"install pyarrow \(pip install 'equissl\[lidar\]'\)"):
        open_reader("argoverse2", tmp_path).names()


def test_kitti360_poses_are_sparse_and_boxes_hold_points(kitti360: Path) -> None:
    reader = open_reader("kitti-360", kitti360)
    sequence = reader.open(layouts.DRIVE_360)
    assert reader.names() == [layouts.DRIVE_360] and len(sequence) == 20 and not reader.problems
    sweeps = list(sequence)
    posed = [sweep for sweep in sweeps if sweep.pose is not None]
    assert len(posed) == 19 and [s.boxes is None for s in sweeps] == [s.pose is None for s in sweeps]
    counts = np.concatenate([count_points_in_boxes(s.points, s.boxes.boxes) for s in posed])  # type: ignore[union-attr]
    # boxes of the sample are tilted with the street, ours are upright
    assert (counts > 20).sum() == pytest.approx(332, rel=0.05) and (counts >= 5).sum() == pytest.approx(378, rel=0.05)
    sizes = np.median(np.concatenate([s.boxes.boxes[:, 3:6] for s in posed]), axis=0)  # type: ignore[union-attr]
    assert sizes == pytest.approx([4.4, 2.0, 1.65], abs=0.06)
    assert {name for s in posed for name in s.boxes.names} == {"car"}  # type: ignore[union-attr]


def test_kitti360_lidar_pose_goes_through_both_calibrations(kitti360: Path) -> None:
    """Through the camera: cam0_to_world · inverse(cam0_to_velo), with the rectification left out."""
    sequence = open_reader("kitti-360", kitti360).open(layouts.DRIVE_360)
    pose = next(p for p in sequence.poses if np.isfinite(p).all())  # type: ignore[union-attr]
    row = np.loadtxt(kitti360 / "data_poses" / layouts.DRIVE_360 / "poses.txt")[0]
    body = np.vstack([row[1:].reshape(3, 4), [0, 0, 0, 1]])
    # the LiDAR sits 1.7 m above the street and about 0.8 m ahead of the GPS/IMU; body axes are x ahead, y right, z down
    inside = np.linalg.inv(body) @ pose
    assert np.allclose(inside[:3, :3], np.diag([1, -1, -1]), atol=0.05)
    assert inside[0, 3] == pytest.approx(0.8, abs=0.1) and inside[2, 3] < -0.7


def test_kitti360_moving_boxes_are_there_at_their_time_only(tmp_path: Path) -> None:
    from equissl.datasets.drives.kitti.boxes360 import boxes_at, read_world_boxes

    transform = np.eye(4)
    transform[:3, :3] = [[0, -4, 0], [2, 0, 0], [0, 0, 1.5]]  # the cube's y side is the long one
    transform[:3, 3] = 10, 5, 1
    node = layouts._box_node(0, 7, 3, transform).replace("<timestamp>-1<", "<timestamp>7<")
    wall = layouts._box_node(1, 7, 4, transform, semantic=11)
    path = tmp_path / "boxes.xml"
    path.write_text(f"<opencv_storage>{node}{wall}<note>no box</note></opencv_storage>")
    world = read_world_boxes(path)
    assert len(world) == 1
    pose = np.eye(4)
    pose[0, 3] = 4
    found = boxes_at(world, 7, pose)
    assert found.names == ("car",) and found.tracks == ("car_3",) and not len(boxes_at(world, 8, pose))
    x, y, z, dx, dy, dz, heading = found.boxes[0]
    assert np.allclose([x, y, z, dx, dy, dz], [6, 5, 1, 4, 2, 1.5]) and np.isclose(abs(np.sin(heading)), 0)
    path.write_text(f"<opencv_storage>{node.replace('<cols>4<', '<cols>5<')}</opencv_storage>")
    with pytest.raises(IngestError, match=r"expected a cuboid in .*boxes\.xml, object0 is none"):
        read_world_boxes(path)
    path.write_text("<opencv_storage>")
    with pytest.raises(IngestError, match="expected an XML file of boxes"):
        read_world_boxes(path)


def test_nuscenes_key_frame_has_its_boxes_and_points(shared: Path, tmp_path: Path) -> None:
    reader = open_reader("nuscenes", layouts.nuscenes(shared, tmp_path))
    sequence = reader.open("scene-0061")
    assert reader.names() == ["scene-0061"] and len(sequence) == 2 and not reader.problems
    key, between = sequence[0], sequence[1]
    raw = np.fromfile(tmp_path / "samples" / "LIDAR_TOP" / "a.pcd.bin", np.float32).reshape(-1, 5)
    kept = raw[np.abs(raw[:, :2]).max(axis=1) >= 1]
    assert len(raw) == 34_688 and len(key) == len(kept)
    # x right, y ahead -> x ahead, y left
    assert np.array_equal(key.points, np.stack([kept[:, 1], -kept[:, 0], kept[:, 2]], axis=1))
    boxes = key.boxes
    assert len(boxes) == 69 and between.boxes is None  # type: ignore[arg-type]
    counts = count_points_in_boxes(key.points, boxes.boxes)  # type: ignore[union-attr]
    assert counts.sum() == 994 and boxes.num_points.sum() == 1_009  # type: ignore[union-attr]
    assert "pedestrian" in boxes.names and np.diff(sequence.timestamps).tolist() == [50_000_000]  # type: ignore[union-attr]


def test_nuscenes_global_points_do_not_depend_on_our_axes(shared: Path, tmp_path: Path) -> None:
    key = open_reader("nuscenes", layouts.nuscenes(shared, tmp_path)).open("scene-0061")[0]
    sample = layouts.read_json(shared / "data" / "nuscenes_one_sample" / "info.json")["data_list"][0]
    raw = np.fromfile(tmp_path / "samples" / "LIDAR_TOP" / "a.pcd.bin", np.float32).reshape(-1, 5)
    raw = raw[np.abs(raw[:, :2]).max(axis=1) >= 1, :3].astype(np.float64)
    chain = np.array(sample["ego2global"]) @ np.array(sample["lidar_points"]["lidar2ego"])
    assert np.allclose(move(key.pose, key.points.astype(np.float64)), move(chain, raw), atol=1e-4)  # type: ignore[arg-type]


def test_nuscenes_damage_is_named(shared: Path, tmp_path: Path) -> None:
    root = layouts.nuscenes(shared, tmp_path)
    file = root / "sweeps" / "LIDAR_TOP" / "b.pcd.bin"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(SweepError, match=r"b\.pcd\.bin: frame \d+: expected a multiple of 20 bytes"):
        open_reader("nuscenes", root).open("scene-0061")[1]
    file.unlink()
    reader = open_reader("nuscenes", root)
    assert len(reader.open("scene-0061")) == 1 and "expected this sweep, it is missing" in str(reader.problems[0])
    poses = root / "v1.0-mini" / "ego_pose.json"
    poses.write_text(json.dumps([row for row in json.loads(poses.read_text()) if row["token"] != "ego"]))
    reader = open_reader("nuscenes", root)
    assert reader.open("scene-0061")[0].pose is None and "the sweep has no pose" in str(reader.problems[1])
    poses.write_text("[{")
    with pytest.raises(IngestError, match=r"expected a whole JSON table at .*ego_pose\.json"):
        open_reader("nuscenes", root).names()
    poses.unlink()
    with pytest.raises(IngestError, match=r"expected a table at .*ego_pose\.json, it is missing"):
        open_reader("nuscenes", root).names()
