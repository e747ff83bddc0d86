from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.drives.errors import IngestError, SweepError
from equissl.datasets.drives.readers import open_reader

RNG = np.random.default_rng(0)


def cloud(n: int = 30, columns: int = 4) -> np.ndarray:
    return np.concatenate([RNG.uniform(-20, 20, (n, 3)), RNG.uniform(0, 1, (n, columns - 3))], 1).astype(np.float32)


def pose_lines(count: int) -> str:
    rows = [np.hstack([np.eye(3), [[i], [0], [0]]]).ravel() for i in range(count)]
    return "\n".join(" ".join(map(str, row)) for row in rows) + "\n"


def test_a_folder_of_bins_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clouds = [cloud() for _ in range(12)]
    for number, points in enumerate(clouds):
        points.tofile(tmp_path / f"scan{number}.bin")  # scan10 comes after scan9
    (tmp_path / "poses.txt").write_text(pose_lines(12))
    reader = open_reader("folder", tmp_path)
    (name,) = reader.names()
    sequence = reader.open(name)
    assert name == tmp_path.name and [s.frame for s in sequence] == [f"scan{i}" for i in range(12)]
    assert np.array_equal(sequence[10].points, clouds[10][:, :3]) and sequence[10].pose[0, 3] == 10  # type: ignore[index]
    assert np.array_equal(sequence[10].intensity, clouds[10][:, 3]) and sequence.timestamps[1] == 100_000_000  # type: ignore[arg-type]
    assert not reader.problems


def test_sequences_in_folders_with_tum_poses(tmp_path: Path) -> None:
    rotations = Rotation.random(3, random_state=0)
    for name in ("a", "b"):
        (tmp_path / name / "points").mkdir(parents=True)
        for i in range(3):
            np.save(tmp_path / name / "points" / f"{i}.npy", cloud())
        rows = [f"{1.5 + 0.1 * i} {i} 2 3 {' '.join(map(str, q))}" for i, q in enumerate(rotations.as_quat())]
        (tmp_path / name / "poses.txt").write_text("\n".join(rows))
    reader = open_reader("folder", tmp_path)
    assert reader.names() == ["a", "b"]
    sequence = reader.open("b")
    assert sequence.timestamps.tolist() == [1_500_000_000, 1_600_000_000, 1_700_000_000]
    assert np.allclose(sequence.poses[:, :3, :3], rotations.as_matrix())  # type: ignore[index]
    assert sequence.poses[:, :3, 3].tolist() == [[0, 2, 3], [1, 2, 3], [2, 2, 3]]  # type: ignore[index]


def test_intensity_is_scaled_the_same_in_a_whole_sequence(tmp_path: Path) -> None:
    dark, bright = cloud(), cloud()
    dark[:, 3], bright[:, 3] = 0.5, 255
    for i, points in enumerate((dark, bright)):
        points.tofile(tmp_path / f"{i}.bin")
    sequence = open_reader("folder", tmp_path).open(tmp_path.name)
    assert np.allclose(sequence[0].intensity, 0.5 / 255) and np.allclose(sequence[1].intensity, 1)  # type: ignore[arg-type]


def test_other_columns_need_to_be_said(tmp_path: Path) -> None:
    points = cloud(32, 5)
    points[:, 4] = np.arange(32)
    points.tofile(tmp_path / "0.bin")
    with pytest.raises(SweepError, match=r"0\.bin: frame 0: expected .*intensity in \[0, 1\]"):
        open_reader("folder", tmp_path).open(tmp_path.name)[0]
    (tmp_path / "columns.txt").write_text("5\n")
    assert np.array_equal(open_reader("folder", tmp_path).open(tmp_path.name)[0].points, points[:, :3])
    (tmp_path / "columns.txt").write_text("two")
    with pytest.raises(IngestError, match=r"expected a number of columns from 3 to 32 in .*columns\.txt, found 'two'"):
        open_reader("folder", tmp_path).open(tmp_path.name)


def test_gaps_in_poses_and_times_are_named(tmp_path: Path) -> None:
    for i in range(4):
        cloud().tofile(tmp_path / f"{i:03d}.bin")
    lines = pose_lines(3).splitlines()
    lines[1] = "1 2 3"
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    (tmp_path / "times.txt").write_text("0.0\n0.1\n0.1\n0.3\n")
    reader = open_reader("folder", tmp_path)
    sequence = reader.open(tmp_path.name)
    found = [str(problem) for problem in reader.problems]
    assert [s.frame for s in sequence] == ["000", "001", "003"] and len(found) == 3
    assert "frame 001" in found[0] and "poses.txt" in found[0] and "expected 12 finite numbers, found 3" in found[0]
    assert "frame 003" in found[1] and "expected a row for this frame, the file has 3" in found[1]
    assert "frame 002" in found[2] and "later time" in found[2]
    assert [s.pose is None for s in sequence] == [False, True, True]


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"(?s)no \.bin, \.npy, \.ply, \.pcd files.*poses\.txt.*an empty folder"):
        open_reader("folder", tmp_path).names()
    cloud().tofile(tmp_path / "0.bin")
    np.save(tmp_path / "1.npy", cloud())
    with pytest.raises(IngestError, match=r"expected sweeps of one kind in .*, found \.bin, \.npy"):
        open_reader("folder", tmp_path).open(tmp_path.name)
