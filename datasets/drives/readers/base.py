"""Base of the readers of recorded formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from equissl.datasets.drives.clock import NO_TIME, increasing, read_times
from equissl.datasets.drives.errors import IngestError, Problem, wrong_folder
from equissl.datasets.drives.point_files import check_sweep
from equissl.datasets.drives.sweep import Drive, Sweep

SMALL = 0.5  # of the usual size of the files of a drive; smaller ones are named
BLOCK = 4096  # bytes; copies that were cut short end at a multiple of them


class Reader(ABC):
    """Reader of a folder in one format.

    Attributes:
        format: name on the command line.
        tree: the folder expected, for messages.
        rate: sweeps a second by the sensor's setting; None takes each drive's median.
        isolated: frames do not follow one another, so that there are no pairs.
        skewed: sweeps as measured, while the car moved; ``deskew`` can fix that.
        front_labels: labels end where the front camera's view does, so that ``camera_only`` has a sense.
        camera_only: keep the points that the front camera sees, where the labels end there (KITTI object, tracking).
        problems: what was found odd while indexing.
    """

    format: ClassVar[str]
    tree: ClassVar[str]
    rate: ClassVar[float | None] = 10.0
    isolated: ClassVar[bool] = False
    skewed: ClassVar[bool] = False
    front_labels: ClassVar[bool] = False

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

    def without_poses(self, name: str, path: Path, reasons: Mapping[int, str], sweeps: Sequence[Path]) -> None:
        """Note the sweeps that have no pose.

        Args:
            name: of the drive.
            path: of the poses.
            reasons: why, by the place of the sweep.
            sweeps: files of the sweeps.
        """
        for place, reason in reasons.items():
            self.note(name, sweeps[place].stem, path, f"{reason}: the sweep has no pose")

    def frame_times(self, name: str, path: Path, sweeps: Mapping[int, Path]) -> np.ndarray:
        """Read the times (T,) of frames, row k for frame k; ``NO_TIME``, and a note, where there is none.

        Args:
            name: of the drive.
            path: of the times.
            sweeps: files of the sweeps by their frames, increasing.
        """
        times = read_times(path, max(sweeps) + 1)
        if times.said:
            self.note(name, "", path, times.said)
        found = np.full(len(sweeps), NO_TIME, dtype=np.int64)
        for place, (frame, sweep) in enumerate(sweeps.items()):
            if frame < len(times) and frame not in times.problems:
                found[place] = times.nanoseconds[frame]
            else:
                reason = times.problems.get(frame, f"expected a time for this frame, the file has {len(times)} rows")
                self.note(name, sweep.stem, path, f"{reason}: left out")
        return found

    def wrong_folder(self, detail: str) -> IngestError:
        return wrong_folder(self.root, self.format, self.tree, detail)

    def drive(self, name: str, recording: Recording, read: Callable[[int], Sweep]) -> Drive:
        """Make a drive of sweeps at increasing times. Returns without coordinates are left out of them, and counted.

        Args:
            name: of the drive.
            recording: its sweeps.
            read: the place of a sweep in the recording -> the sweep as it is in its file.
        """
        kept = self._in_order(name, recording)
        self._name_small_files(name, [recording.files[place] for place in kept])
        poses = None if recording.poses is None else recording.poses[kept]

        def checked(index: int) -> Sweep:
            place = kept[index]
            sweep = read(place)
            sweep.timestamp, sweep.pose = int(recording.times[place]), pose_or_none(recording.poses, place)
            return check_sweep(sweep, recording.files[place])

        attributes = dict(recording.attributes)
        return Drive(name, recording.times[kept], checked, self.rate, self.format, attributes, poses)

    def _in_order(self, name: str, recording: Recording) -> list[int]:
        """Places of the sweeps whose times increase; others are named."""
        kept = increasing(recording.times)
        for place in sorted({*range(len(recording.times))} - {*kept}):
            if recording.times[place] != NO_TIME:
                reason = "expected a later time than that of the sweep before: left out"
                self.note(name, recording.files[place].stem, recording.files[place], reason)
        return kept

    def _name_small_files(self, name: str, files: Sequence[Path]) -> None:
        """Name raw files of less than half the usual size: one that was cut off between two points looks whole."""
        sizes = [file.stat().st_size if file.suffix == ".bin" and file.is_file() else 0 for file in files]
        usual = int(np.median(sizes)) if sizes else 0
        for file, size in zip(files, sizes, strict=True):
            if 0 < size < SMALL * usual:
                ends = ", and it ends where a block of the disk does, as cut files do" if size % BLOCK == 0 else ""
                self.note(name, file.stem, file, f"{size} bytes, the drive's files usually have {usual}{ends}: kept")


@dataclass(frozen=True)
class Recording:
    """Sweeps of a drive in the order of their frames.

    Attributes:
        files: T files, one or the same for each sweep.
        times: (T,) int64 nanoseconds; ``NO_TIME`` leaves a sweep out.
        poses: (T, 4, 4), NaN where unknown; or None.
        attributes: see ``Drive``.
    """

    files: Sequence[Path]
    times: np.ndarray
    poses: np.ndarray | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


def pose_or_none(poses: np.ndarray | None, index: int) -> np.ndarray | None:
    """Return one pose, where it is known.

    Args:
        poses: (T, 4, 4), or None.
        index: index of the sweep.
    """
    return poses[index] if poses is not None and np.isfinite(poses[index]).all() else None
