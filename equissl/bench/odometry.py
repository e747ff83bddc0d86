"""Benchmark of odometry: estimated poses against the true ones of a drive store."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from equissl.datasets.drives.errors import IngestError
from equissl.datasets.drives.odometry import ODOMETRIES
from equissl.datasets.drives.odometry.quality import PoseErrors, pose_errors
from equissl.datasets.drives.store.store import DriveStore
from equissl.datasets.drives.sweep import Drive


def bench_odometry(store: Path | str, odometry: str = "icp", sweeps: int = 200) -> dict[str, float]:
    """Estimate the poses of drives from their sweeps alone and compare them with those of the store.

    Args:
        store: drive store with poses, recorded or simulated.
        odometry: name: icp, or kiss.
        sweeps: at most so many of each drive, the first ones.

    Returns:
        ``shift_cm`` and ``turn_deg``, medians of the errors from sweep to sweep; ``shift_per_m`` (%) and ``turn_per_m``
        (degrees), their sums over the metres driven; ``end_per_m`` (%), the error of a drive's last pose over its
        metres, mean of the drives; metres, sweeps, sweeps that could not be placed, seconds a sweep.

    Raises:
        IngestError: for a store without two poses in a row.
    """
    drives = DriveStore(store)
    usable = [drives.drive(name) for name, entry in drives.index.items() if entry.poses is not None]
    start = time.monotonic()
    estimated = [estimate(drive, odometry, sweeps) for drive in usable if len(drive) > 1]
    seconds = time.monotonic() - start
    count = sum(map(len, estimated))
    true = [drive.poses[:sweeps] for drive in usable if len(drive) > 1 and drive.poses is not None]
    if not count:
        raise IngestError(f"expected drives of two sweeps with true poses in {store}, found none")
    lost = sum(int(np.isnan(poses[:, 0, 0]).sum()) for poses in estimated)
    found = scores(list(zip(estimated, true, strict=True)))
    return {**found, "sweeps": float(count), "lost": float(lost), "seconds_per_sweep": seconds / count}


def estimate(drive: Drive, odometry: str, sweeps: int) -> np.ndarray:
    """Estimate poses (T, 4, 4) of the first sweeps of a drive, NaN where they cannot be placed.

    Args:
        drive: with points.
        odometry: name.
        sweeps: at most so many.
    """
    estimator, poses = ODOMETRIES[odometry](), np.full((min(len(drive), sweeps), 4, 4), np.nan)
    for index in range(len(poses)):
        pose = estimator.place(drive[index].points, float(drive.timestamps[index]) / 1e9)
        poses[index] = np.nan if pose is None else pose
    return poses


def scores(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Compute the errors over drives, see `bench_odometry`.

    Args:
        pairs: estimated and true poses (T, 4, 4) of each drive.
    """
    found = [pose_errors(*pair) for pair in pairs]
    parts = zip(*((errors.shift, errors.turn, errors.distance) for errors in found), strict=True)
    joined = PoseErrors(*(np.concatenate(part) for part in parts))
    driven = [float(errors.distance.sum()) for errors in found]
    ends = [100 * _end_error(*pair) / metres for pair, metres in zip(pairs, driven, strict=True)]
    shift, turn = joined.per_metre()
    return {
        "shift_cm": 100 * float(np.median(joined.shift)),
        "turn_deg": float(np.median(joined.turn)),
        "shift_per_m": 100 * shift,
        "turn_per_m": turn,
        "end_per_m": float(np.mean(ends)),
        "metres": sum(driven),
    }


def _end_error(poses: np.ndarray, true: np.ndarray) -> float:
    """Metres between the last places, estimated and true, seen from the first."""
    known = np.flatnonzero(np.isfinite(poses[:, 0, 0]) & np.isfinite(true[:, 0, 0]))[[0, -1]]
    return float(pose_errors(poses[known], true[known]).shift[0])
