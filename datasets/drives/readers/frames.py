"""Frames of a drive by the numbers in their names: files that belong to sweeps, and rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError


def numbered_files(folder: Path, suffix: str) -> dict[int, Path]:
    """Find the files ``123.suffix`` of a folder by the number that they are named by, of any width, increasing.

    Args:
        folder: to look in.
        suffix: with its dot.

    Raises:
        IngestError: for two files of one number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        if not (path.stem.isascii() and path.stem.isdecimal()):
            continue
        if (other := found.setdefault(int(path.stem), path)) != path:
            raise IngestError(f"expected one file of each number in {folder}, found {other.name} and {path.name}")
    return dict(sorted(found.items()))


class Beside:
    """Files of a folder that belong to sweeps: those of the same number, whatever their width.

    Args:
        folder: of the files, which need not be there.
        suffix: with its dot.
    """

    def __init__(self, folder: Path, suffix: str = ".txt") -> None:
        self.folder, self.suffix = folder, suffix
        self.files = numbered_files(folder, suffix)

    def of(self, sweep: Path) -> Path:
        """Return the file of a sweep; where it is missing, that of the sweep's own name.

        Args:
            sweep: file of the sweep.
        """
        return self.files.get(int(sweep.stem), self.folder / f"{sweep.stem}{self.suffix}")


def by_frame(
    values: np.ndarray, problems: Mapping[int, str], frames: Sequence[int]
) -> tuple[np.ndarray, dict[int, str]]:
    """Choose the rows of frames: row k belongs to frame k, wherever its sweep is in the drive.

    Args:
        values: (R, ...) rows of a file.
        problems: why rows cannot be used, by their place.
        frames: T numbers of sweeps.

    Returns:
        (T, ...) float64 rows, NaN where there is none; and why, by the place of the sweep.
    """
    chosen = np.full((len(frames), *values.shape[1:]), np.nan)
    reasons = {}
    for place, frame in enumerate(frames):
        if frame < len(values) and frame not in problems:
            chosen[place] = values[frame]
        else:
            reasons[place] = problems.get(frame, f"expected a row for this frame, the file has {len(values)}")
    return chosen, reasons
