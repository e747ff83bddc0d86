"""Drive stores: writing, reading, resuming, damaged folders."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import h5py
import lidar_layouts as layouts
import numpy as np
import pytest

from equissl.cli import main
from equissl.datasets.drives import ingest_parts
from equissl.datasets.drives.drive_parts import plan_parts
from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.ingest import IngestReport, ingest
from equissl.datasets.drives.ingest_parts import IngestJob, IngestSpec, read_part
from equissl.datasets.drives.readers import READERS, open_reader
from equissl.datasets.drives.store.store import DriveStore, DriveStoreError
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Boxes, Drive, Sweep, ego_motion
from equissl.util.parts_folder import PartsError

RNG = np.random.default_rng(0)


def drive(root: Path, sweeps: int = 6, points: int = 200) -> Path:
    """Boxes of points on flat ground seen from a car that drives ahead."""
    world = RNG.uniform([-40, -40, 0], [60, 40, 4], (points, 3))
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(sweeps):
        cloud = np.concatenate([world - [i, 0, 1.7], RNG.uniform(0, 1, (points, 1))], 1).astype(np.float32)
        cloud.tofile(root / f"{i:06d}.bin")
        lines.append(f"1 0 0 {i} 0 1 0 0 0 0 1 0")
    (root / "poses.txt").write_text("\n".join(lines) + "\n")
    return root


def run(root: Path, out: Path, **options: object) -> IngestReport:
    defaults = {"workers": 0, "progress": False, "check": False}
    return ingest("folder", root, out, **(defaults | options))  # type: ignore[arg-type]


def test_every_promised_format_is_found() -> None:
    kitti = {"kitti-object", "kitti-raw", "kitti-odometry", "kitti-tracking", "kitti-360", "semantickitti"}
    assert kitti | {"nuscenes", "argoverse2", "waymo", "folder", "openscene"} <= {*READERS}
    assert all(reader.format == name and reader.tree.strip() for name, reader in READERS.items())


def test_a_folder_becomes_a_store(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive")
    report = run(root, tmp_path / "a.h5", check=True)
    assert (report.drives, report.sweeps, report.pairs, report.boxes) == (1, 6, 5, 0) and not report.problems
    # the same points, one metre on: the poses bring them together exactly
    assert report.checks.aligned and max(report.checks.aligned) < 1e-4 < min(report.checks.unaligned)  # type: ignore[union-attr]
    store = DriveStore(tmp_path / "a.h5")
    before = open_reader("folder", root).open("drive")
    after = store.drive("drive")
    assert store.names == ("drive",) and np.array_equal(after.timestamps, before.timestamps)
    for first, second in zip(before, after, strict=True):
        assert np.array_equal(first.points, second.points) and np.array_equal(first.intensity, second.intensity)  # type: ignore[arg-type]
        assert np.array_equal(first.pose, second.pose) and first.frame == second.frame  # type: ignore[arg-type]
        assert second.ground is not None and second.boxes is None and second.flow is None
    assert store.pairs() == [("drive", i, i + 1) for i in range(5)]
    assert store.pairs(gap=2) == [("drive", i, i + 2) for i in range(4)]


def test_all_that_a_sweep_can_hold_comes_back(tmp_path: Path) -> None:
    points = RNG.uniform(-9, 9, (7, 3)).astype(np.float32)
    far = np.eye(4)
    far[:3, 3] = 4_000_000.123456, 5_000_000.5, 30
    near = far.copy()
    near[0, 3] += 1.25
    full = Sweep(
        points, 1_600_000_000_000_000_000, far, RNG.uniform(0, 1, 7).astype(np.float32),
        times=np.linspace(-0.05, 0.05, 7, dtype=np.float32),
        boxes=Boxes(RNG.normal(size=(2, 7)), ("Car", "Fußgänger"), ("1", "x"), np.array([3, 4]), np.eye(2) * np.nan),
        ground=points[:, 2] < 0, flow=2 * points, flow_valid=points[:, 0] > 0, flow_provider="labels",
        flow_classes=np.arange(7, dtype=np.uint8), semantic=np.arange(7, dtype=np.int32), frame="0001",
        vehicle_lidar=near, ground_plane=np.array([0.0, 0.1, 0.9, 1.7]),
    )  # fmt: skip
    bare = Sweep(points[:2], 1_600_000_000_100_000_000, near, boxes=Boxes.empty())
    last = Sweep(points[:3], 1_600_000_000_300_000_000)
    write_drives(tmp_path / "a.h5", [Drive.of("x", [full, bare, last], 10.0, "made", seed=4)], {"maker": "test"})
    store = DriveStore(tmp_path / "a.h5")
    first, second, third = store.drive("x")
    for name, value in vars(full).items():
        got = getattr(first, name)
        if isinstance(value, np.ndarray):
            assert got.dtype == value.dtype and np.array_equal(got, value), name
        elif name == "boxes":
            assert np.array_equal(got.boxes, value.boxes) and got.names == value.names and got.tracks == value.tracks
            assert got.num_points.tolist() == [3, 4] and np.array_equal(got.velocities, np.eye(2) * np.nan, True)
        else:
            assert got == value, name
    assert len(second.boxes) == 0 and second.intensity is None and np.array_equal(second.pose, near)  # type: ignore[arg-type]
    assert third.pose is None and third.boxes is None and third.vehicle_lidar is None and third.ground_plane is None
    assert second.boxes.velocities is None and store.has_velocities("x", 0) and not store.has_velocities("x", 1)  # type: ignore[union-attr]
    entry = store.index["x"]
    assert (entry.rate, entry.dataset, entry.attributes) == (10.0, "made", {"seed": 4})
    assert entry.num_points.tolist() == [7, 2, 3] and entry.num_boxes.tolist() == [2, 0, -1]
    assert store.attributes["maker"] == "test" and store.pairs() == [("x", 0, 1)]


def test_a_sequence_group_is_an_openscene_log(tmp_path: Path) -> None:
    """Names, shapes and types of the schema; poses relative to the first, which float32 can hold."""
    report = run(drive(tmp_path / "drive"), tmp_path / "a.h5")
    with h5py.File(report.path) as file:
        log = file["drive"]
        assert sorted(map(int, log)) == [i * 100_000_000 for i in range(6)]
        sweep = log["100000000"]
        kinds = {
            name: (sweep[name].dtype, sweep[name].shape) for name in ("lidar", "pose", "ground_mask", "ego_motion")
        }
        assert kinds == {
            "lidar": (np.float32, (200, 4)), "pose": (np.float32, (4, 4)), "ground_mask": (np.bool_, (200,)),
            "ego_motion": (np.float32, (4, 4)),
        }  # fmt: skip
        assert sweep["pose"][0, 3] == 1 and sweep["ego_motion"][0, 3] == -1
        assert "ego_motion" not in log["500000000"]


def test_openscene_logs_are_read(tmp_path: Path) -> None:
    """A log holds a drive's sweeps at its top, with poses relative to the first one."""
    points = RNG.uniform(-9, 9, (50, 3)).astype(np.float32)
    poses = [np.eye(4) for _ in range(3)]
    for i, pose in enumerate(poses):
        pose[:3, 3] = 1000 + i, 2000, 3
    sweeps = [
        Sweep(points + i, 10**17 + i * 10**8, pose, flow=points if i < 2 else None, flow_provider="labels")
        for i, pose in enumerate(poses)
    ]
    write_drives(tmp_path / "a.h5", [Drive.of("log", sweeps, 10.0)])
    log = tmp_path / "logs" / "log.h5"
    log.parent.mkdir()
    with h5py.File(tmp_path / "a.h5") as file, h5py.File(log, "w") as out:
        for time in file["log"]:
            file.copy(f"log/{time}", out)
    store = DriveStore(log)
    assert store.names == ("log",) and store.pairs() == [("log", 0, 1), ("log", 1, 2)]
    back = store.drive("log")
    assert np.array_equal(back[0].pose, np.eye(4)) and np.array_equal(back[0].flow, points)  # type: ignore[arg-type]
    moved = ego_motion(back[0].pose, back[1].pose)  # type: ignore[arg-type]
    assert np.allclose(moved, ego_motion(poses[0], poses[1]))
    report = ingest("openscene", log.parent, tmp_path / "b.h5", workers=0, progress=False, check=False)
    assert report.pairs == 2 and np.array_equal(DriveStore(report.path).read("log", 1).flow, points)  # type: ignore[arg-type]


def test_damaged_frames_are_named_and_the_others_kept(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 14)
    cut = root / "000002.bin"
    cut.write_bytes(cut.read_bytes()[:-5])
    values = np.fromfile(root / "000005.bin", np.float32).reshape(-1, 4)
    values[7, 1] = np.nan
    values.tofile(root / "000005.bin")
    fine = np.fromfile(root / "000006.bin", np.float32).reshape(-1, 4)
    np.concatenate([fine[:160], np.full((160, 1), 9, np.float32)], 1).tofile(root / "000008.bin")
    poses = (root / "poses.txt").read_text().splitlines()
    poses[11] = poses[11].replace("1 0 0", "nan 0 0", 1)
    (root / "poses.txt").write_text("\n".join(poses))
    (root / "000013.bin").write_bytes(b"")
    report = run(root, tmp_path / "a.h5")
    assert report.sweeps == 10 and DriveStore(report.path).names == ("drive",)
    text = [str(problem) for problem in report.problems]
    for frame, file, reason in (
        ("000002", "000002.bin", "multiple of 16 bytes"), ("000005", "000005.bin", "first point 7"),
        ("000008", "000008.bin", "number of columns"), ("000013", "000013.bin", "an empty file"),
        ("000011", "poses.txt", "line 12"),
    ):  # fmt: skip
        assert any(f"frame {frame}" in t and file in t and reason in t for t in text), (frame, text)
    # 0-1, 3-4, 6-7, 9-10: nothing across a gap or without a pose
    frames = [sweep.frame for sweep in DriveStore(report.path).drive("drive")]
    assert [(frames[i], frames[j]) for _, i, j in DriveStore(report.path).pairs()] == [
        ("000000", "000001"), ("000003", "000004"), ("000006", "000007"), ("000009", "000010"),
    ]  # fmt: skip
    with h5py.File(report.path) as file:
        assert "ego_motion" not in file["drive"]["100000000"] and "ego_motion" in file["drive"]["300000000"]
    assert not any(str(tmp_path) in t for t in text)


def test_mixed_frame_rates_are_named(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 6)
    (root / "times.txt").write_text("0\n0.1\n0.2\n0.3\n0.35\n0.40\n")
    report = run(root, tmp_path / "a.h5")
    assert report.sweeps == 6 and DriveStore(report.path).pairs() == [("drive", i, i + 1) for i in range(3)]
    assert any("frame 000003" in str(p) and "another rate" in str(p) for p in report.problems)
    (root / "times.txt").write_text("0\n0.1\n0.2\n0.3\n0.5\n0.7\n")
    report = run(root, tmp_path / "b.h5")
    assert report.pairs == 3 and [p.frame for p in report.problems] == ["000003", "000004"]
    assert all("found it after 0.200 s" in p.reason for p in report.problems)


def test_no_pairs_is_an_error_with_the_reason(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 3)
    (root / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(IngestError, match=r"(?s)expected pairs of consecutive sweeps.*one is missing.*frame 000001"):
        run(root, tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["drive"]
    assert run(root, tmp_path / "a.h5", need_pairs=False).pairs == 0
    lone = drive(tmp_path / "lone", 1)
    with pytest.raises(IngestError, match="has a single sweep"):
        run(lone, tmp_path / "b.h5")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 3)
    for path in root.glob("*.bin"):
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IngestError, match=r"(?s)nothing in .*drive can be read.*multiple of 16 bytes"):
        run(root, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


def test_one_bad_sequence_does_not_spoil_the_others(tmp_path: Path) -> None:
    drive(tmp_path / "data" / "good", 3)
    drive(tmp_path / "data" / "bad", 3)
    (tmp_path / "data" / "bad" / "columns.txt").write_text("none")
    report = run(tmp_path / "data", tmp_path / "a.h5")
    assert report.drives == 1 and [p.drive for p in report.problems] == ["bad"]
    with pytest.raises(IngestError, match="got other; it has bad, good"):
        run(tmp_path / "data", tmp_path / "b.h5", drives=["good", "other"])
    assert run(tmp_path / "data", tmp_path / "b.h5", drives=["good"], limit=2).sweeps == 2


def test_killed_at_any_part_and_started_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    for name in ("a", "b", "c"):
        drive(root / name, 3, 50)
    whole = run(root, tmp_path / "whole.h5").path.read_bytes()
    out = tmp_path / "out.h5"
    write = ingest_parts.write_sweep
    for stop in range(9):
        calls = iter(range(100))

        def fail(*args: object, calls: object = calls, stop: int = stop) -> None:
            if next(calls) == stop:  # type: ignore[call-overload]
                raise KeyboardInterrupt
            write(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(ingest_parts, "write_sweep", fail)
        with pytest.raises(KeyboardInterrupt):
            run(root, out)
        assert not out.exists() and not [*Path(f"{out}.parts").glob("*.tmp-*")]
        finished = len([*Path(f"{out}.parts").glob("part-*.h5")])
        monkeypatch.setattr(ingest_parts, "write_sweep", write)
        if stop % 3 == 0:
            assert finished == stop // 3
            run(root, out)
            assert out.read_bytes() == whole and not Path(f"{out}.parts").exists()
            out.unlink()
        else:  # a damaged part is written again
            for path in Path(f"{out}.parts").glob("part-*.h5"):
                path.write_bytes(path.read_bytes()[:100])
            run(root, out)
            assert out.read_bytes() == whole
            out.unlink()


def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a", "b"):
        drive(root / name, 2, 50)
    alone, together = run(root, tmp_path / "1.h5"), run(root, tmp_path / "2.h5", workers=2)
    assert alone.path.read_bytes() == together.path.read_bytes()


def test_a_sweep_that_takes_too_long_is_left_out_and_named(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 3)
    spec = IngestSpec("folder", root)
    sequence = spec.open().open("drive")
    job = IngestJob(plan_parts(tmp_path, {"drive": 3}), spec, [sequence])
    job.run(0, {1: "reading the sweep took longer than 300 s"}, lambda begun: None)
    with h5py.File(tmp_path / "copy.h5", "w") as file:
        content = read_part(job.parts[0], file)
    assert content.kept == [0, 2] and [str(problem) for problem in content.problems] == [
        "drive, frame at 100000000 ns: reading the sweep took longer than 300 s"
    ]


def test_unfinished_work_of_other_options_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = drive(tmp_path / "drive", 3)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ingest_parts, "write_sweep", interrupt)
        run(root, tmp_path / "a.h5")
    with pytest.raises(PartsError, match="limit: None there, 2 asked for"):
        run(root, tmp_path / "a.h5", limit=2)
    assert run(root, tmp_path / "a.h5", limit=2, overwrite=True).sweeps == 2


def test_a_finished_store_is_left_alone_and_another_is_in_the_way(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 3)
    first = run(root, tmp_path / "a.h5")
    again = run(root, tmp_path / "a.h5")
    assert not first.already_complete and again.already_complete and again.sweeps == 3
    with pytest.raises(PartsError, match=r"(?s)holds something else and is not overwritten.*limit"):
        run(root, tmp_path / "a.h5", limit=2)
    assert run(root, tmp_path / "a.h5", limit=2, overwrite=True).sweeps == 2
    (tmp_path / "b.h5").write_text("mine")
    with pytest.raises(IngestError, match="in the way"):
        run(root, tmp_path / "b.h5")


def test_foreign_and_damaged_stores_say_so(tmp_path: Path) -> None:
    with pytest.raises(DriveStoreError, match="found nothing"):
        _ = DriveStore(tmp_path / "none.h5").names
    path = run(drive(tmp_path / "drive", 2), tmp_path / "a.h5").path
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DriveStoreError, match="damaged or another kind of file"):
        _ = DriveStore(tmp_path / "cut.h5").names
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DriveStoreError, match=r"expected .*other\.h5 to be a drive store .* found format '' with x"):
        _ = DriveStore(tmp_path / "other.h5").names
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(DriveStoreError, match=r"expected drive store version 1, .* has version 99"):
        _ = DriveStore(path).names


def _read_one(store: DriveStore) -> float:
    return float(store.read("drive", 1).points.sum())


def test_a_store_in_use_can_be_forked_and_pickled(tmp_path: Path) -> None:
    store = DriveStore(run(drive(tmp_path / "drive", 3), tmp_path / "a.h5").path)
    expected = _read_one(store)
    assert _read_one(pickle.loads(pickle.dumps(store))) == expected
    assert float(pickle.loads(pickle.dumps(store.drive("drive")))[1].points.sum()) == expected
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_read_one, (store,)) == expected
    assert _read_one(store) == expected


def test_options_that_do_not_fit_the_format(tmp_path: Path) -> None:
    root = drive(tmp_path / "drive", 2)
    with pytest.raises(IngestError, match="expected deskew only"):
        run(root, tmp_path / "a.h5", deskew=True)
    with pytest.raises(IngestError, match="camera_only only for labels of the front camera alone, got folder"):
        run(root, tmp_path / "a.h5", camera_only=True)
    with pytest.raises(IngestError, match="limit of at least 1"):
        run(root, tmp_path / "a.h5", limit=0)


def test_the_command_reads_real_tracking_sweeps(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = layouts.tracking(shared, tmp_path / "kitti", 3), tmp_path / "a.h5"
    assert main(["ingest", "kitti-tracking", str(root), "--out", str(out), "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "1 drives, 3 sweeps, 2 pairs" in printed and "with at least 20 points" in printed and "cm with" in printed
    skewed = ingest("kitti-tracking", root, tmp_path / "b.h5", deskew=True, workers=0, progress=False, check=False)
    first, second = DriveStore(out).read("0000", 1), DriveStore(skewed.path).read("0000", 1)
    moved = np.linalg.norm(second.points - first.points, axis=1)
    # half of what the car drives in 0.1 s at most, and what it turns
    assert 0.02 < np.median(moved) < 0.35
    assert main(["ingest", "kitti-raw", str(root), "--out", str(tmp_path / "c.h5")]) == 2
    error = capsys.readouterr().err
    assert "expected:" in error and "found:" in error and "training/" in error
    assert main(["ingest", "kitti", str(root), "--out", str(tmp_path / "c.h5")]) == 2
    assert "expected one of" in capsys.readouterr().err


def test_object_frames_need_no_pairs(shared: Path, tmp_path: Path) -> None:
    report = ingest(
        "kitti-object", layouts.kitti_object(shared, tmp_path / "o"), tmp_path / "a.h5", workers=0, progress=False
    )
    assert (report.sweeps, report.pairs, report.boxes) == (3, 0, 6) and not report.problems
    assert report.checks.boxes_20 == 4  # type: ignore[union-attr]
