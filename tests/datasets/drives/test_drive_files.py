"""Files of sweeps as recorders leave them: no returns, names of any width, formats, sizes; the right value of each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.datasets.drives import checks
from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.ingest import IngestReport, ingest
from equissl.datasets.drives.pcd import unpack_lzf
from equissl.datasets.drives.point_files import read_points
from equissl.datasets.drives.readers import Reader, open_reader
from equissl.datasets.drives.readers.base import Recording
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Drive, Sweep

QUIET = {"workers": 0, "progress": False, "check": False, "need_pairs": False, "ground": False}
CALIBRATION = (
    "R0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\nP2: 700 0 600 0 0 700 180 0 0 0 1 0\n"
)
CAR = "Car 0.00 0 -1.57 500 150 600 250 1.50 2.00 4.00 -1.00 1.75 10.00 -1.5708\n"


def cloud(points: int = 40, columns: int = 4, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.uniform(2, 40, points), rng.uniform(-20, 20, (points, 2)), rng.uniform(0, 1, (points, columns - 3))]
    ).astype(np.float32)


def with_gaps(values: np.ndarray) -> np.ndarray:
    """The same points with three without coordinates among them."""
    gaps = np.full((3, values.shape[1]), np.nan, np.float32)
    return np.insert(values, [0, 5, 9], gaps, axis=0)


def pcd(values: np.ndarray, form: str, count: str = "POINTS {n}") -> bytes:
    n = len(values)
    body = {"ascii": "\n".join(" ".join(map(str, row)) for row in values.tolist()).encode(), "binary": values.tobytes()}
    if form == "binary_compressed":
        columns = values.T.tobytes()
        # LZF literals alone: a length less one, then at most 32 bytes
        runs = [columns[i : i + 32] for i in range(0, len(columns), 32)]
        packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
        body[form] = np.array([len(packed), len(columns)], "<u4").tobytes() + packed
    fields = "FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    return f"VERSION 0.7\n{fields}WIDTH {n}\nHEIGHT 1\n{count.format(n=n)}\nDATA {form}\n".encode() + body[form]


def ply(values: np.ndarray) -> bytes:
    fields = "".join(f"property float {name}\n" for name in ("x", "y", "z", "intensity"))
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(values)}\n{fields}end_header\n"
    return head.encode() + values.tobytes()


def save_structured(path: Path, values: np.ndarray) -> None:
    table = np.zeros(len(values), [("X", "<f8"), ("y", "<f4"), ("z", "<f4"), ("ring", "u1"), ("reflectivity", "<f4")])
    for name, column in zip(("X", "y", "z", "reflectivity"), values.T, strict=True):
        table[name] = column
    np.save(path, table)


WRITERS: dict[str, tuple[str, Callable[[Path, np.ndarray], object]]] = {
    "raw": (".bin", lambda path, values: values.tofile(path)),
    "capitals": (".BIN", lambda path, values: values.tofile(path)),
    "npy": (".npy", np.save),
    "structured": (".npy", save_structured),
    "ply": (".ply", lambda path, values: path.write_bytes(ply(values))),
    **{f"pcd {form}": (".pcd", lambda path, values, form=form: path.write_bytes(pcd(values, form)))
       for form in ("ascii", "binary", "binary_compressed")},
}  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
def test_returns_without_coordinates_are_dropped_and_counted_in_every_format(form: str, tmp_path: Path) -> None:
    suffix, write = WRITERS[form]
    (tmp_path / "rec").mkdir()
    clouds = [cloud(seed=k) for k in range(3)]
    for k, values in enumerate(clouds):
        write(tmp_path / "rec" / f"{k}{suffix}", with_gaps(values) if k else values)
    report = ingest("folder", tmp_path / "rec", tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    for k, sweep in enumerate(DriveStore(tmp_path / "o.h5").drive("rec")):
        np.testing.assert_allclose(sweep.points, clouds[k][:, :3], rtol=1e-6)
        np.testing.assert_allclose(sweep.intensity, clouds[k][:, 3], rtol=1e-6)  # type: ignore[arg-type]
    assert any("6 returns without coordinates in 2 of 3 sweeps" in str(problem) for problem in report.problems)


def test_a_coordinate_that_is_missing_alone_is_a_wrong_column(tmp_path: Path) -> None:
    values = cloud()
    values[7, 1] = np.nan
    values.tofile(tmp_path / "0.bin")
    with pytest.raises(SweepError, match="expected finite coordinates, found 1 of 40"):
        open_reader("folder", tmp_path).open(tmp_path.name)[0]
    np.full((5, 4), np.nan, np.float32).tofile(tmp_path / "0.bin")
    with pytest.raises(SweepError, match="expected points, found none with coordinates among 5"):
        open_reader("folder", tmp_path).open(tmp_path.name)[0]


def test_open3d_writes_compressed_pcd_that_we_read(tmp_path: Path) -> None:
    """LZF with references back, by PCL's own code: points on a lattice repeat their bytes."""
    o3d = pytest.importorskip("open3d")
    points = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    made = o3d.t.geometry.PointCloud(o3d.core.Tensor(points))
    assert o3d.t.io.write_point_cloud(str(tmp_path / "a.pcd"), made, compressed=True)
    data = (tmp_path / "a.pcd").read_bytes()
    assert b"binary_compressed" in data and len(data) < points.nbytes
    found = read_points(tmp_path / "a.pcd", "0")
    assert np.array_equal(np.stack([found[a] for a in "xyz"], 1), points)
    (tmp_path / "a.pcd").write_bytes(data[:-9])
    with pytest.raises(SweepError, match="cut short"):
        read_points(tmp_path / "a.pcd", "0")
    with pytest.raises(ValueError, match="damaged"):
        unpack_lzf(b"\xff\xff\xff", 100)


def test_a_pcd_header_without_points_and_one_that_lies(tmp_path: Path) -> None:
    (tmp_path / "a.pcd").write_bytes(pcd(cloud(), "binary", "VIEWPOINT 0 0 0 1 0 0 0"))
    assert len(read_points(tmp_path / "a.pcd", "0")["x"]) == 40
    (tmp_path / "a.pcd").write_bytes(pcd(cloud(), "ascii", "POINTS 41"))
    with pytest.raises(SweepError, match="expected 41 points by its header, found 40"):
        read_points(tmp_path / "a.pcd", "0")


def test_the_number_of_columns_that_fits_is_said(tmp_path: Path) -> None:
    values = cloud(37, 5)
    values[:, 4] = np.arange(37) % 32
    values.tofile(tmp_path / "0.pcd.bin")  # 37 points of 20 bytes are no multiple of 16
    with pytest.raises(SweepError, match=r"5 would fit.*columns\.txt in the drive's folder says the number"):
        open_reader("folder", tmp_path).open(tmp_path.name)[0]
    (tmp_path / "columns.txt").write_bytes(b"\xef\xbb\xbf5\n")
    assert np.array_equal(open_reader("folder", tmp_path).open(tmp_path.name)[0].points, values[:, :3])


def test_a_drive_in_the_raw_layout_and_what_macos_leaves(tmp_path: Path) -> None:
    data = tmp_path / "drive" / "velodyne_points" / "data"
    data.mkdir(parents=True)
    for k in range(3):
        cloud(seed=k).tofile(data / f"{k:010d}.bin")
        (data / f"._{k:010d}.bin").write_bytes(b"\0" * 16)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._0.bin").write_bytes(b"\0" * 16)
    times = "".join(f"2011-09-26 13:02:{25 + k / 8:.9f}\n" for k in range(3))
    (data.parent / "timestamps.txt").write_text(times)
    reader = open_reader("folder", tmp_path)
    assert reader.names() == ["drive"]
    drive = reader.open("drive")
    assert len(drive) == 3 and np.diff(drive.timestamps).tolist() == [125_000_000] * 2
    assert np.array_equal(drive[2].points, cloud(seed=2)[:, :3])


def kitti_object(root: Path, names: list[str], points: list[int] | None = None) -> Path:
    for place, name in enumerate(names):
        for folder, text in (("calib", CALIBRATION), ("label_2", CAR)):
            (root / "training" / folder).mkdir(parents=True, exist_ok=True)
            (root / "training" / folder / f"{name}.txt").write_text(text)
        (root / "training" / "velodyne").mkdir(exist_ok=True)
        cloud(points[place] if points else 40).tofile(root / "training" / "velodyne" / f"{name}.bin")
    return root


def object_store(root: Path, out: Path) -> tuple[DriveStore, IngestReport]:
    report = ingest("kitti-object", root, out, **QUIET)  # type: ignore[arg-type]
    return DriveStore(out), report


@pytest.mark.parametrize("width", [1, 4, 6, 10])
def test_frames_are_named_by_numbers_of_any_width(tmp_path: Path, width: int) -> None:
    root = kitti_object(tmp_path / "kitti", [f"{k:0{width}d}" for k in (2, 0, 7)])
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_bytes(b"\xef\xbb\xbf000000\n# one more\n\n000007\n")
    # labels of another width belong to the sweep of the same number
    labels = root / "training" / "label_2"
    (labels / f"{7:0{width}d}.txt").rename(labels / "00007.txt")
    store, report = object_store(root, tmp_path / "o.h5")
    names = [f"{k:0{width}d}" for k in (0, 2, 7)]
    assert store.sweep_names("training") == tuple(names) and report.boxes == 3 and not report.problems
    assert store.index["training"].attributes["splits"] == {"train": [names[0], names[2]]}


def test_two_files_of_one_number_and_names_that_are_none(tmp_path: Path) -> None:
    root = kitti_object(tmp_path / "kitti", ["0001", "000001"])
    with pytest.raises(IngestError, match=r"one file of each number in .*, found 000001\.bin and 0001\.bin"):
        object_store(root, tmp_path / "o.h5")
    root = kitti_object(tmp_path / "other", ["frame_1"])
    with pytest.raises(IngestError, match=r"expected sweeps named by numbers, as 000000\.bin"):
        object_store(root, tmp_path / "o.h5")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_and_calibrations_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    root = kitti_object(tmp_path / "kitti", ["000000"])
    (root / "training/label_2/000000.txt").write_text(CAR, encoding=encoding)
    (root / "training/calib/000000.txt").write_text(CALIBRATION, encoding=encoding)
    store, _ = object_store(root, tmp_path / "o.h5")
    boxes = store.read("training", 0).boxes
    assert boxes is not None and boxes.names == ("Car",)
    # 10 m ahead of the camera, 1 m to the left, its bottom 1.75 m below
    np.testing.assert_allclose(boxes.boxes[0], [10, 1, -1.0, 4, 2, 1.5, 0], atol=1e-4)


def test_a_small_sweep_is_kept_and_named_and_one_of_cut_bytes_is_not(tmp_path: Path) -> None:
    root = kitti_object(tmp_path / "kitti", [f"{k:06d}" for k in range(5)], [2000, 2000, 2000, 256, 700])
    cut = root / "training/velodyne/000004.bin"
    cut.write_bytes(cut.read_bytes()[:-6])
    store, report = object_store(root, tmp_path / "o.h5")
    assert store.sweep_names("training") == tuple(f"{k:06d}" for k in range(4))
    found = {problem.frame: problem.reason for problem in report.problems if "kept" not in problem.reason}
    assert [*found] == ["000004"] and "multiple of 16 bytes" in found["000004"]
    kept = next(problem.reason for problem in report.problems if problem.frame == "000003")
    assert "4096 bytes" in kept and "block of the disk" in kept


def nuscenes(root: Path, times: list[int]) -> Path:
    layouts.write_nuscenes(root, np.eye(4), np.eye(4), times[0], [], {})
    table = root / "v1.0-mini" / "sample_data.json"
    (root / "sweeps").mkdir()
    rows = []
    for k, time in enumerate(times):
        rows.append(layouts._sweep_row(f"d{k}", time, f"sweeps/{k}.pcd.bin", k == 0, "ego"))
        values = with_gaps(cloud(columns=5, seed=k))
        values[:, 3] *= 255
        values.tofile(root / "sweeps" / f"{k}.pcd.bin")
    table.write_text(json.dumps(rows), encoding="utf-8-sig")
    return root


def test_of_two_nuscenes_sweeps_with_one_time_the_second_is_named(tmp_path: Path) -> None:
    root = nuscenes(tmp_path / "nus", [1_000_000, 1_050_000, 1_050_000, 1_150_000])
    report = ingest("nuscenes", root, tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    store = DriveStore(tmp_path / "o.h5")
    assert store.index["scene-0061"].timestamps.tolist() == [1_000_000_000, 1_050_000_000, 1_150_000_000]
    assert len(store.read("scene-0061", 1)) == 40 and report.sweeps == 3
    reasons = [str(problem) for problem in report.problems]
    assert any("sweeps/2.pcd.bin" in reason and "later time" in reason for reason in reasons)
    assert any("9 returns without coordinates in 3 of 3 sweeps" in reason for reason in reasons)


def test_an_empty_pose_table_leaves_out_that_log_alone(tmp_path: Path) -> None:
    pyarrow, feather = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.feather")
    columns = {"x": 0, "y": 1, "z": 2, "intensity": 3}
    for log in ("good", "empty"):
        folder = tmp_path / "av2" / log / "sensors" / "lidar"
        folder.mkdir(parents=True)
        for time in (1_000_000_000, 1_100_000_000):
            table = {name: cloud()[:, place] for name, place in columns.items()}
            feather.write_feather(
                pyarrow.table({**table, "offset_ns": np.zeros(40, np.int32)}), folder / f"{time}.feather"
            )
        names = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
        times = np.array([1_000_000_000, 1_100_000_000] if log == "good" else [], np.int64)
        poses = {name: np.full(len(times), float(name == "qw")) for name in names}
        path = tmp_path / "av2" / log / "city_SE3_egovehicle.feather"
        feather.write_feather(pyarrow.table({"timestamp_ns": times, **poses}), path)
    report = ingest("argoverse2", tmp_path / "av2", tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    assert DriveStore(tmp_path / "o.h5").names == ("good",) and report.sweeps == 2
    assert [problem.drive for problem in report.problems] == ["empty"] and "no rows" in report.problems[0].reason


class Backwards(Reader):
    """Reader of another package whose second drive has times in the wrong order."""

    format, tree = "backwards", "anything"

    def names(self) -> list[str]:
        return ["right", "wrong"]

    def open(self, name: str) -> Drive:
        def read(place: int) -> Sweep:
            return Sweep(cloud()[:, :3], 0)

        drive = self.drive(name, Recording([self.root] * 3, np.arange(3) * 100_000_000), read)
        return drive if name == "right" else replace(drive, timestamps=drive.timestamps[::-1])


def test_one_drive_of_a_strange_reader_does_not_end_the_others(tmp_path: Path) -> None:
    report = ingest(f"{__name__}:Backwards", tmp_path, tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    assert (report.drives, report.sweeps) == (1, 3) and "expected increasing times" in report.problems[-1].reason


def test_the_check_never_fails_a_finished_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = tmp_path / "rec"
    drive.mkdir()
    for k in range(4):
        cloud(400, seed=k).tofile(drive / f"{k}.bin")
    (drive / "poses.txt").write_text((12 * "nan " + "\n") * 4)  # no pose can be read
    checked = {**QUIET, "check": True, "need_pairs": True}
    report = ingest("folder", drive, tmp_path / "o.h5", **checked)  # type: ignore[arg-type]
    assert (report.sweeps, report.pairs) == (4, 3) and report.checks is not None and not report.checks.warnings
    assert sum("the sweep has no pose" in problem.reason for problem in report.problems) == 4

    def broken(sweep: Sweep, report: checks.CheckReport) -> None:
        raise RuntimeError("no such library")

    monkeypatch.setattr(checks, "count_boxes", broken)
    again = ingest("folder", drive, tmp_path / "o.h5", **checked)  # type: ignore[arg-type]
    assert again.already_complete and "no such library" in again.checks.lines()[-1]  # type: ignore[union-attr]


def folder_poses(tmp_path: Path, names: list[str], poses: str, times: str = "") -> list[float]:
    """x of the pose of each sweep."""
    shutil.rmtree(tmp_path / "rec", ignore_errors=True)
    (tmp_path / "rec").mkdir()
    for name in names:
        cloud().tofile(tmp_path / "rec" / f"{name}.bin")
    (tmp_path / "rec" / "poses.txt").write_text(poses, encoding="utf-8-sig")
    if times:
        (tmp_path / "rec" / "times.txt").write_text(times)
    drive = open_reader("folder", tmp_path / "rec").open("rec")
    return [None if sweep.pose is None else float(sweep.pose[0, 3]) for sweep in drive]  # type: ignore[misc]


def test_poses_of_a_folder_go_by_number_or_time_and_are_not_guessed(tmp_path: Path) -> None:
    matrices = "".join(f"1 0 0 {k} 0 1 0 0 0 0 1 0\n" for k in range(6))
    numbered = "".join(f"{k} 1 0 0 {k} 0 1 0 0 0 0 1 0\n" for k in (5, 1, 3))
    tum = "# time x y z qx qy qz qw\n" + "".join(f"{k / 20} {k} 0 0 0 0 0 1\n" for k in range(9))
    assert folder_poses(tmp_path, ["a", "b", "c", "d", "e", "f"], matrices) == [0, 1, 2, 3, 4, 5]
    assert folder_poses(tmp_path, ["000", "001", "004"], matrices) == [0, 1, 4]  # sweeps 2, 3 and 5 are lacking
    assert folder_poses(tmp_path, ["001", "003", "004"], numbered) == [1, 3, None]
    assert folder_poses(tmp_path, ["a", "b", "c"], tum, "0\n0.1\n0.2\n") == [0, 2, 4]  # 20 poses a second
    assert folder_poses(tmp_path, ["a", "b", "c"], tum, "0\n125\n225\n") == [0, 2.5, 4.5]  # milliseconds
    assert folder_poses(tmp_path, ["a", "b", "c"], matrices) == [None] * 3  # nothing tells which is whose
    assert folder_poses(tmp_path, ["a", "b", "c"], tum) == [None] * 3
    stamps = ["1532402927.60", "1532402927.65", "1532402927.70"]
    named = "".join(f"{1532402927 + 0.6 + k / 100:.2f} {k} 0 0 0 0 0 1\n" for k in range(12))
    assert folder_poses(tmp_path, stamps, named) == [0, 5, 10]
