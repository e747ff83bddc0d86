"""KITTI object, raw, odometry, SemanticKITTI and tracking on real bytes."""

from __future__ import annotations

from pathlib import Path

import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.datasets.drives.box_points import count_points_in_boxes
from equissl.datasets.drives.checks import alignment
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.readers import open_reader


@pytest.fixture(scope="module")
def tracking(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.tracking(shared, tmp_path_factory.mktemp("tracking"), 4)


@pytest.fixture(scope="module")
def odometry(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.odometry(shared, tmp_path_factory.mktemp("odometry"))


def test_tracking_poses_are_those_of_the_sample(shared: Path, tracking: Path) -> None:
    reader = open_reader("kitti-tracking", tracking)
    sequence = reader.open("0000")
    expected = np.loadtxt(shared / "data" / "kitti_tracking_0000" / "poses_velo.txt").reshape(-1, 3, 4)[:4]
    assert reader.names() == ["0000"] and len(sequence) == 4 and not reader.problems
    assert np.abs(sequence.poses[:, :3] - expected).max() < 1e-6  # type: ignore[index]
    assert np.diff(sequence.timestamps).tolist() == [100_000_000] * 3
    # the folder of the split is accepted too
    assert open_reader("kitti-tracking", tracking / "training").names() == ["0000"]


def test_tracking_sweeps_and_boxes(tracking: Path) -> None:
    sequence = open_reader("kitti-tracking", tracking).open("0000")
    first = sequence[0]
    assert 98_533 <= len(first) <= 124_123 and first.points.dtype == np.float32 and first.frame == "000000"
    assert first.intensity.min() >= 0 and first.intensity.max() <= 1  # type: ignore[union-attr]
    assert set(first.boxes.names) <= {"Van", "Car", "Cyclist", "Pedestrian"} and "0" in first.boxes.tracks  # type: ignore[union-attr]
    counts = np.concatenate([count_points_in_boxes(s.points, s.boxes.boxes) for s in sequence])  # type: ignore[union-attr]
    assert len(counts) > 10 and (counts >= 20).mean() >= 0.98
    # ahead of the car, and standing on the street
    boxes = first.boxes.boxes  # type: ignore[union-attr]
    assert (boxes[:, 0] > 0).all() and np.all(np.abs(boxes[:, 2] - boxes[:, 5] / 2 + 1.7) < 0.7)


@pytest.mark.slow
def test_all_tracking_boxes_hold_points_and_all_sweeps_align(shared: Path, tmp_path: Path) -> None:
    sequence = open_reader("kitti-tracking", layouts.tracking(shared, tmp_path, None)).open("0000")
    counts, names = [], []
    for sweep in sequence:
        counts += count_points_in_boxes(sweep.points, sweep.boxes.boxes).tolist()  # type: ignore[union-attr]
        names += sweep.boxes.names  # type: ignore[union-attr]
    counts = np.array(counts)
    assert len(sequence) == 154 and len(counts) == 711 and (counts >= 20).sum() == 700
    medians = {name: int(np.median(counts[np.array(names) == name])) for name in set(names)}
    # counted with boxes upright in the camera's frame, which is pitched by 0.8 degrees against the LiDAR's
    assert medians == pytest.approx({"Car": 272, "Van": 401, "Cyclist": 339, "Pedestrian": 273}, rel=0.05)
    for index in range(0, 153, 17):
        aligned, unaligned = alignment(sequence[index], sequence[index + 1])
        assert aligned < 0.08 < unaligned, index


def test_tracking_sweeps_align(tracking: Path) -> None:
    sequence = open_reader("kitti-tracking", tracking).open("0000")
    aligned, unaligned = alignment(sequence[0], sequence[1])
    assert aligned < 0.08 < 0.12 < unaligned


def test_the_camera_sees_a_wedge_that_holds_the_boxes(tracking: Path) -> None:
    reader = open_reader("kitti-tracking", tracking)
    whole = reader.open("0000")[0]
    reader.camera_only = True
    seen = reader.open("0000")[0]
    assert 0.1 < len(seen) / len(whole) < 0.25 and seen.points[:, 0].min() > 0
    boxes = whole.boxes.boxes  # type: ignore[union-attr]
    inside = count_points_in_boxes(whole.points, boxes)
    # all but those at the picture's edge
    assert (count_points_in_boxes(seen.points, boxes) == inside).mean() >= 0.5


def test_raw_is_the_same_drive_as_tracking(shared: Path, tmp_path: Path, tracking: Path) -> None:
    reader = open_reader("kitti-raw", layouts.raw(shared, tmp_path))
    assert reader.names() == ["2011_09_26_drive_0005_sync"]
    raw = reader.open(reader.names()[0])
    same = open_reader("kitti-tracking", tracking).open("0000")
    assert np.allclose(raw.poses, same.poses[:3], atol=1e-6) and not reader.problems  # type: ignore[index]
    assert np.array_equal(raw[1].points, same[1].points) and raw.attributes == {"date": "2011_09_26"}
    assert np.diff(raw.timestamps).tolist() == [100_000_000] * 2
    assert str(np.datetime64(int(raw.timestamps[0]), "ns")) == "2011-09-26T13:02:25.594360375"


def test_raw_frames_go_by_name_and_not_by_position(shared: Path, tmp_path: Path) -> None:
    root = layouts.raw(shared, tmp_path)
    data = root / "2011_09_26" / "2011_09_26_drive_0005_sync" / "velodyne_points" / "data"
    before = open_reader("kitti-raw", root).open("2011_09_26_drive_0005_sync")
    (data / "0000000001.bin").unlink()
    after = open_reader("kitti-raw", root).open("2011_09_26_drive_0005_sync")
    assert after.timestamps.tolist() == before.timestamps[[0, 2]].tolist()
    assert np.array_equal(after.poses, before.poses[[0, 2]]) and after[1].frame == "0000000002"  # type: ignore[index]


def test_raw_times_and_oxts_that_do_not_fit_are_named(shared: Path, tmp_path: Path) -> None:
    drive = layouts.raw(shared, tmp_path) / "2011_09_26" / "2011_09_26_drive_0005_sync"
    (drive / "oxts" / "data" / "0000000001.txt").write_text("49.0 8.4 nan 0 0 0\n")
    times = drive / "velodyne_points" / "timestamps.txt"
    times.write_text("\n".join(times.read_text().splitlines()[:2]) + "\n")
    reader = open_reader("kitti-raw", tmp_path)
    sequence = reader.open("2011_09_26_drive_0005_sync")
    found = [str(problem) for problem in reader.problems]
    assert len(sequence) == 2 and len(found) == 2
    assert "frame 0000000002" in found[0] and "timestamps.txt" in found[0] and "the file has 2 rows" in found[0]
    assert "0000000001.txt" in found[1] and "6 finite numbers" in found[1]
    assert sequence[1].pose is None and sequence[0].pose is not None


def test_odometry_poses_bring_the_sweeps_together(odometry: Path) -> None:
    reader = open_reader("kitti-odometry", odometry)
    sequence = reader.open("00")
    assert reader.names() == ["00"] and len(sequence) == 3 and not reader.problems
    poses = sequence.poses
    assert np.allclose(poses[0], np.eye(4), atol=1e-6)  # type: ignore[index]
    # one sweep to the next: 0.86 m, ahead and not sideways or up, as the LiDAR's x points ahead
    step = poses[1, :3, 3] - poses[0, :3, 3]  # type: ignore[index]
    assert abs(np.linalg.norm(step) - 0.86) < 0.01 and step[0] > 0.85
    for index in range(2):
        aligned, unaligned = alignment(sequence[index], sequence[index + 1])
        assert aligned < 0.08 < 0.15 < unaligned


def test_odometry_times_and_missing_poses(odometry: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(odometry, root)
    folder = root / "dataset" / "sequences" / "00"
    (folder / "times.txt").write_text("0.000000e+00\n1.037359e-01\n2.073501e-01\n")
    poses = root / "dataset" / "poses" / "00.txt"
    lines = poses.read_text().splitlines()
    scaled = " ".join(str(3 * float(number)) for number in lines[1].split())
    poses.write_text("\n".join([lines[0], scaled]) + "\n")
    reader = open_reader("kitti-odometry", root)
    sequence = reader.open("00")
    assert sequence.timestamps.tolist() == [0, 103_735_900, 207_350_100]
    found = [str(problem) for problem in reader.problems]
    assert [sequence[i].pose is None for i in range(3)] == [False, True, True]
    assert "00.txt: line 2: expected a rotation" in found[0] and "frame 000001" in found[0]
    assert "frame 000002" in found[1] and "the file has 2" in found[1]
    poses.unlink()
    assert open_reader("kitti-odometry", root).open("00").poses is None
    (folder / "poses.txt").write_text("\n".join(lines))
    assert np.allclose(open_reader("kitti-odometry", root).open("00").poses[0], np.eye(4), atol=1e-6)  # type: ignore[index]


def test_semantickitti_labels_and_its_own_poses(odometry: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "copy"
    shutil.copytree(odometry, root)
    folder = root / "dataset" / "sequences" / "00"
    own = np.loadtxt(root / "dataset" / "poses" / "00.txt")[:3]
    own[:, [3, 7, 11]] *= 2
    np.savetxt(folder / "poses.txt", own)
    (folder / "labels").mkdir()
    count = (folder / "velodyne" / "000000.bin").stat().st_size // 16
    labels = (np.arange(count) % 260 + (7 << 16)).astype(np.uint32)
    labels.tofile(folder / "labels" / "000000.label")
    labels[:-3].tofile(folder / "labels" / "000001.label")
    sequence = open_reader("semantickitti", root).open("00")
    assert sequence[0].semantic.tolist() == (np.arange(count) % 260).tolist()  # type: ignore[union-attr]
    step = np.linalg.norm(sequence.poses[1, :3, 3] - sequence.poses[0, :3, 3])  # type: ignore[index]
    assert abs(step - 2 * 0.86) < 0.03
    with pytest.raises(SweepError, match=r"000001\.label: frame 000001: expected \d+ bytes, a uint32 label for each"):
        sequence[1]
    with pytest.raises(SweepError, match=r"000002\.label: frame 000002: .* missing"):
        sequence[2]


def test_object_frames_have_boxes_with_points(shared: Path, tmp_path: Path) -> None:
    root = layouts.kitti_object(shared, tmp_path)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("000000\n000002\n")
    (root / "mapping").mkdir()
    (root / "mapping" / "train_rand.txt").write_text("3,1,2")
    lines = [f"2011_09_26 2011_09_26_drive_000{i}_sync 000000010{i}" for i in range(3)]
    (root / "mapping" / "train_mapping.txt").write_text("\n".join(lines))
    sequence = open_reader("kitti-object", root).open("training")
    names, counts = [], []
    for sweep in sequence:
        names += sweep.boxes.names  # type: ignore[union-attr]
        counts += count_points_in_boxes(sweep.points, sweep.boxes.boxes).tolist()  # type: ignore[union-attr]
    assert [len(sweep) for sweep in sequence] == [115_384, 120_268, 126_891]
    assert names == ["Pedestrian", "Truck", "Car", "Cyclist", "Misc", "Car"]
    assert min(counts) == 9 and max(counts) == pytest.approx(1351, rel=0.01)
    assert sequence.attributes["splits"] == {"train": ["000000", "000002"]}
    assert sequence.attributes["raw"]["000000"] == "2011_09_26_drive_0002_sync/0000000102"


def test_a_straight_ahead_object_has_heading_zero(tmp_path: Path) -> None:
    from equissl.datasets.drives.kitti.files import Label, to_boxes

    camera = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])  # lidar -> camera axes
    boxes = to_boxes([Label(0, "", "Car", (1.5, 1.6, 3.9), (-2, 1.7, 10), -np.pi / 2)], camera)
    assert np.allclose(boxes.boxes, [[10, 2, -1.7 + 0.75, 3.9, 1.6, 1.5, 0]])


def test_damaged_object_frames_are_named_and_others_read(shared: Path, tmp_path: Path) -> None:
    root = layouts.kitti_object(shared, tmp_path)
    (root / "training" / "calib" / "000000.txt").unlink()
    label = root / "training" / "label_2" / "000001.txt"
    label.write_text(label.read_text().replace("Truck 0.00", "Truck", 1))
    sequence = open_reader("kitti-object", root).open("training")
    with pytest.raises(SweepError, match=r"calib/000000\.txt: frame 000000: expected a calibration"):
        sequence[0]
    with pytest.raises(
        SweepError, match=r"label_2/000001\.txt: frame 000001: line 1: expected the 15 fields .* found 14"
    ):
        sequence[1]
    assert len(sequence[2].boxes) == 2  # type: ignore[arg-type]


def test_wrong_folders_show_both_trees(tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff" / "a.txt").touch()
    for name in ("kitti-object", "kitti-raw", "kitti-odometry", "semantickitti", "kitti-tracking", "kitti-360"):
        with pytest.raises(
            IngestError, match=rf"(?s)in the {name} layout: no sweeps.*expected:.*\.bin.*found:\n  stuff/\n    a\.txt"
        ):
            open_reader(name, tmp_path).names()
    with pytest.raises(IngestError, match=r"expected a folder at .*, found nothing"):
        open_reader("kitti-raw", tmp_path / "none")
    with pytest.raises(IngestError, match=r"unknown format 'kiti-raw' \(did you mean 'kitti-raw'\?\)"):
        open_reader("kiti-raw", tmp_path)


def test_missing_calibrations_are_named(shared: Path, tmp_path: Path) -> None:
    layouts.tracking(shared, tmp_path / "tracking", 1)
    (tmp_path / "tracking" / "training" / "calib" / "0000.txt").unlink()
    with pytest.raises(IngestError, match=r"expected a calibration at .*calib/0000\.txt, it is missing"):
        open_reader("kitti-tracking", tmp_path / "tracking").open("0000")
    layouts.raw(shared, tmp_path / "raw", 1)
    calibration = tmp_path / "raw" / "2011_09_26" / "calib_imu_to_velo.txt"
    calibration.write_text("R: 1 0 0 0 1 0 0 0\nT: 0 0 0\n")
    with pytest.raises(IngestError, match=r"expected 9 finite numbers for R in .*calib_imu_to_velo\.txt, found 8"):
        open_reader("kitti-raw", tmp_path / "raw").open("2011_09_26_drive_0005_sync")
    calibration.unlink()
    with pytest.raises(IngestError, match=r"calib_imu_to_velo\.txt, it is missing"):
        open_reader("kitti-raw", tmp_path / "raw").open("2011_09_26_drive_0005_sync")
