"""Base of the readers of recorded formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from equissl.datasets.drives.errors import IngestError, Problem, SweepError, wrong_folder
from equissl.datasets.drives.sweep import Drive

SMALLEST = 0.5  # of the usual size of a sweep's file in its drive; smaller ones were cut off between two points


class Reader(ABC):
    """Reader of a folder in one format.

    Attributes:
        format: name on the command line.
        tree: the folder expected, for messages.
        rate: sweeps a second by the sensor's setting; None takes each drive's median.
        isolated: frames do not follow one another, so that there are no pairs.
        skewed: sweeps as measured, while the car moved; ``deskew`` can fix that.
        camera_only: keep the points that the front camera sees, where the labels end there (KITTI object, tracking).
        problems: what was found odd while indexing.
    """

    format: ClassVar[str]
    tree: ClassVar[str]
    rate: ClassVar[float | None] = 10.0
    isolated: ClassVar[bool] = False
    skewed: ClassVar[bool] = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self.camera_only = False
        self.problems: list[Problem] = []

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the drives, sorted; from folder listings alone.

        Raises:
            IngestError: where the folder has another layout.
        """

    @abstractmethod
    def open(self, name: str) -> Drive:
        """Open one drive: its timestamps and poses; its sweeps are read when asked for.

        Raises:
            IngestError: where something that all its sweeps need is missing or damaged.
        """

    def note(self, drive: str, frame: object, file: Path | str, reason: str) -> None:
        """Record a problem that does not stop the reading.

        Args:
            drive: name.
            frame: name of the sweep.
            file: with the problem.
            reason: for people.
        """
        self.problems.append(Problem(drive, str(frame), str(file), reason))

    def wrong_folder(self, detail: str) -> IngestError:
        return wrong_folder(self.root, self.format, self.tree, detail)


def pose_or_none(poses: np.ndarray | None, index: int) -> np.ndarray | None:
    """Return one pose, where it is known.

    Args:
        poses: (T, 4, 4), or None.
        index: index of the sweep.
    """
    return poses[index] if poses is not None and np.isfinite(poses[index]).all() else None


def usual_size(files: list[Path]) -> int:
    """Compute the median size in bytes."""
    return int(np.median([file.stat().st_size for file in files])) if files else 0


def check_size(path: Path, frame: str, usual: int) -> None:
    """Refuse a file of less than half the usual size: one cut off between two points looks whole otherwise.

    Args:
        path: path of the file.
        frame: name of the sweep, for the message.
        usual: bytes.
    """
    size = path.stat().st_size if path.exists() else usual
    if 0 < size < SMALLEST * usual:
        raise SweepError(
            path, frame, f"expected about {usual} bytes as its drive's other sweeps have, found {size}: cut short"
        )


def sorted_numbers(folder: Path, suffix: str) -> list[int]:
    """List the numbers of the files ``123.suffix`` in a folder, increasing.

    Args:
        folder: to look in.
        suffix: with its dot.
    """
    return sorted(int(path.stem) for path in folder.glob(f"*{suffix}") if path.stem.isdigit())


def check_pose(matrix: np.ndarray) -> str | None:
    """Describe the fault of a (4, 4) pose; None for a rigid transform."""
    if not np.isfinite(matrix).all():
        return "expected finite numbers in the pose"
    error = float(np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max())
    if error > 1e-2 or np.linalg.det(matrix[:3, :3]) < 0:
        return f"expected a rotation in the pose, its rows are off by {error:.3g} from orthonormal"
    return None


def rigid_rows(values: np.ndarray) -> np.ndarray:
    """Compute (..., 4, 4) from 12 numbers, rows of (3, 4)."""
    matrix = np.zeros((*values.shape[:-1], 4, 4))
    matrix[..., :3, :] = values.reshape(*values.shape[:-1], 3, 4)
    matrix[..., 3, 3] = 1
    return matrix


def quaternion_to_rotmat(w: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Convert quaternions to (..., 3, 3), in the order of nuScenes and Argoverse files: scalar first.

    Args:
        w: (...) scalar.
        x: (...).
        y: (...).
        z: (...).
    """
    norm = np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
