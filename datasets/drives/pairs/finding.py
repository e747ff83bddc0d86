"""Search for the pairs of sweeps of a drive."""

from __future__ import annotations

import numpy as np

TOLERANCE = 0.2  # of the time gap asked for
FASTEST = 70.0  # metres a second; a pose that asks for more is wrong


def find_pairs(
    timestamps: np.ndarray, rate: float | None, poses: np.ndarray | None = None, gap: int = 1
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Find the pairs of sweeps ``gap`` turns of the sensor apart, by time and not by position.

    A pair is kept when its time gap is within 20 % of ``gap / rate`` and it is no more than ``gap`` sweeps apart: pairs
    across missing sweeps, or from a part that was recorded at another rate, are not.

    Args:
        timestamps: (T,) int64 nanoseconds, increasing.
        rate: sweeps a second; None takes the median of the drive.
        poses: (T, 4, 4), NaN where unknown; with any of them known, both sweeps of a pair need one.
        gap: turns between the two sweeps.

    Returns:
        (P, 2) int64 positions of the earlier and the later sweep; and for each sweep without a successor its position
        and why.
    """
    times = timestamps.astype(np.float64) / 1e9
    if len(times) <= 1:
        return np.zeros((0, 2), np.int64), []
    wanted = gap / (rate or 1 / float(np.median(np.diff(times))))
    pairs, problems = [], []
    later = np.searchsorted(timestamps, timestamps + round(wanted * (1 - TOLERANCE) * 1e9))
    for i, j in enumerate(later.tolist()):
        if j >= len(times):
            continue
        # of several candidates, the one nearest in time
        j += int(np.argmin(np.abs(times[j : j + gap + 1] - times[i] - wanted)))
        reason = _gap_problem(times[j] - times[i], wanted, j - i - gap) or _pose_problem(
            poses, i, j, times[j] - times[i]
        )
        if reason:
            problems.append((i, reason))
        else:
            pairs.append((i, j))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), problems


def _gap_problem(found: float, wanted: float, extra: int) -> str | None:
    # a microsecond of slack: a gap of exactly 20 % is still one
    if abs(found - wanted) <= TOLERANCE * wanted + 1e-6:
        return f"expected no other sweep within {wanted:.3f} s, found {extra}: another rate" if extra > 0 else None
    return f"expected the next sweep after {wanted:.3f} s (within 20 %), found it after {found:.3f} s"


def _pose_problem(poses: np.ndarray | None, i: int, j: int, seconds: float) -> str | None:
    if poses is None or not np.isfinite(poses).any():
        return None
    if not (np.isfinite(poses[i]).all() and np.isfinite(poses[j]).all()):
        return "expected poses of this sweep and the next, one is missing"
    distance = float(np.linalg.norm(poses[j, :3, 3] - poses[i, :3, 3]))
    if distance > FASTEST * seconds:
        return f"expected at most {FASTEST:.0f} m/s between poses, found {distance:.2f} m in {seconds:.3f} s"
    return None
