"""Rows of text files: comments, blanks, headings and damage move nothing; times of every unit; poses of every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from equissl.datasets.drives.clock import NO_TIME, increasing, read_times, times_of_names, to_nanoseconds
from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.text_files import read_number_lines, read_words
from equissl.datasets.drives.trajectory import poses_at, read_trajectory

ROWS = ["1 2", "3 4", "5 6"]


def rows_of(path: Path, text: str | bytes, expected: int | None = 3) -> list[float | None]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found, problems = read_number_lines(path, 2, expected)
    assert sorted(problems) == [place for place, row in enumerate(found) if np.isnan(row).any()]
    return [None if np.isnan(row[0]) else float(row[0]) for row in found]


@pytest.mark.parametrize(
    "text",
    [
        "1 2\n3 4\n5 6",
        "# poses\n1 2\n3 4\n5 6\n",
        "\ufeff1 2\n3 4\n5 6\n",
        "x y\n1 2\n3 4\n5 6\n",
        "% a\n\n\n1 2\n// b\n3 4\n\n5 6\n\n\n",
        "1,2\n3, 4\n5;6\n",
        "1 2\r\n3 4\r\n5 6\r\n",
        "time frame_0\n1 2\n3 4\n5 6\n",
        "1 2\n3 4\nlost the GPS at 12 s\n5 6\n",
        "1 2\n3 4\n5 6\n".encode("utf-16"),
    ],
)
def test_rows_are_the_same_whatever_stands_between_them(tmp_path: Path, text: str | bytes) -> None:
    assert rows_of(tmp_path / "a.txt", text) == [1, 3, 5]


def test_a_damaged_row_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert rows_of(path, "1 2\n3\n5 6") == [1, None, 5]
    assert rows_of(path, "1 2\n3 nan\n5 6") == [1, None, 5]
    assert rows_of(path, "1 2\n3 x\n5 6") == [1, None, 5]
    assert rows_of(path, "1 2\n\n5 6") == [1, None, 5]  # three rows are expected: the blank line is one of them
    assert rows_of(path, "1 2\n\n3 4\n5 6") == [1, 3, 5]  # here it is none
    # neither two nor three: where it belongs is not known, and said
    assert rows_of(path, "1 2\n\n5 6", expected=7) == [1, None, None]
    assert "line 2 is none" in read_number_lines(path, 2, 7)[1][2]


def test_words_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf000001\n# seen twice\n\n000002 000003\n")
    assert read_words(tmp_path / "train.txt") == ["000001", "000002", "000003"]


@pytest.mark.parametrize("start", [0, 1_532_402_927, 604_000])
@pytest.mark.parametrize(("unit", "digits"), [("s", 9), ("ms", 6), ("µs", 3), ("ns", 0)])
def test_times_of_every_unit_are_exact(start: int, unit: str, digits: int) -> None:
    nanoseconds = [start * 10**9 + step for step in (0, 100_000_001, 199_999_999, 300_000_003)]
    words = _shifted(nanoseconds, digits) if digits else [str(ns) for ns in nanoseconds]
    found, said = to_nanoseconds(words)
    assert said == unit and found.tolist() == nanoseconds


def _shifted(nanoseconds: list[int], digits: int) -> list[str]:
    """Numbers with ``digits`` decimals: 9 for seconds, 6 for milliseconds, 3 for microseconds."""
    return [f"{ns // 10**digits}.{ns % 10**digits:0{digits}d}" for ns in nanoseconds]


def test_times_say_how_they_were_taken(tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_text("# ms\n0\n100\nx\n300\n")
    found = read_times(path, 4)
    assert found.nanoseconds.tolist() == [0, 100_000_000, NO_TIME, 300_000_000] and set(found.problems) == {2}
    assert "taken as ms" in (found.said or "")
    path.write_text("2011-09-26 13:02:25.594360375\n\n2011-09-26T13:02:25.8Z\n")
    dated = read_times(path, 3)
    assert dated.nanoseconds[0] == np.datetime64("2011-09-26T13:02:25.594360375", "ns").astype(int) and not dated.said
    assert dated.nanoseconds[2] - dated.nanoseconds[0] == 205_639_625 and dated.nanoseconds[1] == NO_TIME
    assert times_of_names(["0", "1", "2"]) is None and times_of_names(["a"]) is None
    named = times_of_names(["1532402927647951", "1532402927747951"])
    assert named is not None and named.unit == "µs" and named.nanoseconds[0] == 1_532_402_927_647_951_000


def test_one_time_out_of_order_is_left_out_and_not_those_after_it() -> None:
    assert increasing(np.array([0, 1, 9, 2, 3])) == [0, 1, 3, 4]
    assert increasing(np.array([0, 1, 1, 2])) == [0, 1, 3]
    assert increasing(np.array([5, NO_TIME, 6])) == [0, 2] and increasing(np.array([], dtype=np.int64)) == []


def test_poses_of_every_form_are_the_same(tmp_path: Path) -> None:
    rotations, path = Rotation.random(3, random_state=0), tmp_path / "poses.txt"
    wanted = np.tile(np.eye(4), (3, 1, 1))
    wanted[:, :3, :3], wanted[:, :3, 3] = rotations.as_matrix(), [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    quaternions = rotations.as_quat()
    tum = [[i / 10, *pose[:3, 3], *q] for i, (pose, q) in enumerate(zip(wanted, quaternions, strict=True))]
    scalar_first = [[*row[:4], row[7], *row[4:7]] for row in tum]
    forms = {
        "": [pose[:3].ravel() for pose in wanted],
        "# 4x4\n": [pose.ravel() for pose in wanted],
        "# frame, 3x4\n": [[7 + i, *pose[:3].ravel()] for i, pose in enumerate(wanted)],
        "# timestamp x y z qx qy qz qw\n": tum,
        "time,x,y,z,qw,qx,qy,qz\n": scalar_first,
    }
    for heading, rows in forms.items():
        path.write_text(heading + "\n".join(" ".join(repr(float(v)) for v in row) for row in rows) + "\n")
        found = read_trajectory(path, 3)
        np.testing.assert_allclose(found.poses, wanted, atol=1e-12, err_msg=heading)
        assert found.rows_of([9, 7]) == ([2, 0] if "frame" in heading else [9, 7])
    path.write_text("1 2 3 4 5\n")
    with pytest.raises(IngestError, match=r"rows of 12, 13 or 16 numbers, or the 8 of a TUM file, in .*, found 5"):
        read_trajectory(path)


def test_a_trajectory_is_interpolated_at_the_times_of_sweeps(tmp_path: Path) -> None:
    """A steady turn and drive: half way between two poses is half the turn and half the way."""
    half = np.deg2rad([0, 5, 10, 15]) / 2
    rows = [f"{k / 10} {k} 0 0 0 0 {np.sin(a)} {np.cos(a)}" for k, a in enumerate(half)]
    (tmp_path / "poses.txt").write_text("\n".join([*rows, "9.0 90 0 0 0 0 0 1"]))
    found = read_trajectory(tmp_path / "poses.txt")
    times = np.array([150_000_000, 100_000_000, 5_000_000_000, 10_000_000_000])
    poses = poses_at(found, times)
    np.testing.assert_allclose(poses[:2, 0, 3], [1.5, 1])
    np.testing.assert_allclose(Rotation.from_matrix(poses[0, :3, :3]).as_rotvec(degrees=True), [0, 0, 7.5], atol=1e-9)
    assert np.isnan(poses[2:]).all()  # seconds from any pose, and after the last
