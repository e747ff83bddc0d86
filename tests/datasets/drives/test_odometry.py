"""Poses of drives that have none, against the true ones of simulated drives; how good they are is said and kept."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl import cli
from equissl.bench.odometry import bench_odometry, estimate
from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.ingest import ingest
from equissl.datasets.drives.odometry.base import LOST
from equissl.datasets.drives.odometry.icp import GeneralisedIcp
from equissl.datasets.drives.odometry.quality import pose_errors
from equissl.datasets.drives.simulated import DriveOptions, simulated_drive
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.store.writer import write_drives
from equissl.datasets.drives.sweep import Drive

SENSOR = DriveOptions(beams=24, columns=450, ego_speed=(12.0, 12.0))
QUIET = {"workers": 0, "progress": False, "check": False, "odometry": "icp"}


@pytest.fixture(scope="module")
def simulated() -> Drive:
    drive = simulated_drive(7, 0, 1, SENSOR)
    return Drive.of("drive", list(drive), 10.0)


@pytest.fixture
def recorded(simulated: Drive, tmp_path: Path) -> Path:
    """The same drive as a folder of points alone."""
    (tmp_path / "rec" / "drive").mkdir(parents=True)
    for number, sweep in enumerate(simulated):
        sweep.points.tofile(tmp_path / "rec" / "drive" / f"{number}.bin")
    (tmp_path / "rec" / "drive" / "columns.txt").write_text("3")
    return tmp_path / "rec"


def test_errors_of_poses_are_those_put_in() -> None:
    """1 m a sweep along x; each estimated motion 3 cm too far aside and 0.2 degrees too far round."""
    true = np.tile(np.eye(4), (5, 1, 1))
    true[:, 0, 3] = np.arange(5)
    wrong = np.eye(4)
    wrong[:3, :3] = Rotation.from_euler("z", 0.2, degrees=True).as_matrix()
    wrong[:3, 3] = 1, 0.03, 0
    poses = np.stack([np.linalg.matrix_power(wrong, k) for k in range(5)])
    errors = pose_errors(np.linalg.inv(poses[2]) @ poses, true)  # the worlds have nothing in common
    np.testing.assert_allclose(errors.shift, 0.03, atol=1e-9)
    np.testing.assert_allclose(errors.turn, 0.2, atol=1e-9)
    np.testing.assert_allclose(errors.per_metre(), (0.03, 0.2), atol=1e-9)
    poses[1] = np.nan
    assert len(pose_errors(poses, true).shift) == 2


def test_a_drive_without_poses_goes_all_the_way(simulated: Drive, recorded: Path, tmp_path: Path) -> None:
    report = ingest("folder", recorded, tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    store = DriveStore(tmp_path / "o.h5")
    entry = store.index["drive"]
    errors = pose_errors(entry.poses, simulated.poses)  # type: ignore[arg-type]
    assert report.pairs == 6 and errors.distance.sum() > 5
    assert errors.shift.max() < 0.05 and errors.turn.max() < 0.2 and errors.per_metre()[0] < 0.03
    said = entry.attributes["odometry"]
    assert (said["name"], said["placed"], said["sweeps"]) == ("icp", 7, 7)
    assert said["metres"] == pytest.approx(errors.distance.sum(), rel=0.05) and said["shift"] < 0.05
    assert report.odometry and "icp placed 7 of 7 sweeps" in report.odometry[0] and "agree within" in report.odometry[0]
    # the poses do what poses are for: a static world's flow
    assert (
        cli.main(
            ["flow", str(store.path), "--provider", "ego", "--out", str(tmp_path / "flow.h5"), "--progress", "false"]
        )
        == 0
    )
    again = ingest("folder", recorded, tmp_path / "again.h5", **QUIET)  # type: ignore[arg-type]
    assert again.path.read_bytes() == store.path.read_bytes()


def test_drives_that_have_poses_keep_them(simulated: Drive, recorded: Path, tmp_path: Path) -> None:
    rows = [" ".join(map(str, pose[:3].ravel())) for pose in simulated.poses]  # type: ignore[union-attr]
    (recorded / "drive" / "poses.txt").write_text("\n".join(rows))
    report = ingest("folder", recorded, tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    assert np.array_equal(DriveStore(tmp_path / "o.h5").index["drive"].poses, simulated.poses)  # type: ignore[arg-type]
    assert not report.odometry


def test_sweeps_of_another_place_are_not_placed(simulated: Drive, recorded: Path, tmp_path: Path) -> None:
    other = simulated_drive(3, 5, 1, SENSOR)
    odometry = GeneralisedIcp()
    assert odometry.place(simulated[0].points, 0.0) is not None
    assert odometry.place(other[0].points, 0.1) is None
    found = odometry.place(simulated[1].points, 0.1)  # goes on from the last sweep that was placed
    assert found is not None and pose_errors(np.stack([np.eye(4), found]), simulated.poses[:2]).shift[0] < 0.05  # type: ignore[index]
    other[0].points.tofile(recorded / "drive" / "3.bin")
    report = ingest("folder", recorded, tmp_path / "o.h5", **QUIET)  # type: ignore[arg-type]
    reasons = [problem.reason for problem in report.problems]
    assert any("could not place 1 of 7 sweeps, the first at 300000000 ns" in reason for reason in reasons)
    assert (
        np.isnan(DriveStore(tmp_path / "o.h5").index["drive"].poses[:, 0, 0]).tolist()
        == [False] * 3 + [True] + [False] * 3
    )  # type: ignore[index]
    assert LOST >= 3


def test_what_odometry_refuses(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {**QUIET, "odometry": "icq"}
    with pytest.raises(IngestError, match=r"odometry 'icq'.*icp"):
        ingest("folder", recorded, tmp_path / "o.h5", **wanted)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "kiss_icp", None)
    monkeypatch.setitem(sys.modules, "kiss_icp.config", None)
    with pytest.raises(ImportError, match=r"pip install 'equissl\[kiss\]'"):
        ingest("folder", recorded, tmp_path / "o.h5", **{**QUIET, "odometry": "kiss"})  # type: ignore[arg-type]
    assert not (tmp_path / "o.h5").exists()


def test_kiss_icp_follows_a_drive_once_it_goes() -> None:
    """Its first motions are guessed from standing; it needs a few sweeps."""
    pytest.importorskip("kiss_icp")
    sensor = replace(SENSOR, beams=64, columns=900, ego_speed=(8.0, 8.0))
    drive = Drive.of("drive", list(simulated_drive(7, 0, 1, sensor)), 10.0)
    errors = pose_errors(estimate(drive, "kiss", 7), drive.poses)  # type: ignore[arg-type]
    assert len(errors.shift) == 6 and errors.shift[2:].max() < 0.15 < errors.distance.min() and errors.turn.max() < 0.5


def test_the_benchmark_compares_with_the_poses_of_a_store(simulated: Drive, tmp_path: Path) -> None:
    store = write_drives(tmp_path / "sim.h5", [simulated])
    found = bench_odometry(store, sweeps=3)
    assert (found["sweeps"], found["lost"]) == (3, 0) and 0 < found["shift_cm"] < 5 and 0 < found["end_per_m"] < 3
    bare = write_drives(tmp_path / "bare.h5", [replace(simulated, poses=None)])
    with pytest.raises(IngestError, match="true poses"):
        bench_odometry(bare)
