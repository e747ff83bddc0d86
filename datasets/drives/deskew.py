"""Compensation of the motion of the car during one turn of the sensor."""

from __future__ import annotations

import numpy as np

from equissl.datasets.drives.sweep import Sweep, ego_motion

_CHUNK = 1 << 16  # points at a time: three rotation matrices' worth of memory each


def azimuth_times(points: np.ndarray, rate: float) -> np.ndarray:
    """Compute times (N,) float32 from the middle of the turn, of a sensor that turns clockwise from the back.

    So do the Velodynes of KITTI and KITTI-360, whose timestamps are those of the moment when it looks ahead.

    Args:
        points: (N, 3).
        rate: turns a second.
    """
    return (-0.5 / np.pi / rate * np.arctan2(points[:, 1], points[:, 0])).astype(np.float32)


def deskew(sweep: Sweep, poses: np.ndarray, timestamps: np.ndarray, index: int, rate: float) -> Sweep:
    """Deskew a sweep, as if all its points were measured at its timestamp.

    The car's velocity and turn rate over one period are taken as constant: those since the sweep before (as KITTI-360's
    own tools do), or up to the sweep after where there is none before.

    Args:
        sweep: with ``times``, or else of a sensor as in ``azimuth_times``.
        poses: (T, 4, 4) of its drive, NaN where unknown.
        timestamps: (T,) nanoseconds.
        index: index of the sweep in its drive.
        rate: turns a second.

    Returns:
        a new sweep; the old one where no neighbour with a pose is within 1.5 turns.
    """
    twist = _velocity(poses, timestamps, index, rate)
    if twist is None:
        return sweep
    times = sweep.times if sweep.times is not None else azimuth_times(sweep.points, rate)
    moved = np.concatenate(
        [
            _move_back(sweep.points[start : start + _CHUNK], times[start : start + _CHUNK], *twist)
            for start in range(0, len(sweep), _CHUNK)
        ]
    )
    return Sweep(**{**vars(sweep), "points": moved})


def _velocity(
    poses: np.ndarray, timestamps: np.ndarray, index: int, rate: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Turn rate (rad/s, axis-angle) and velocity (m/s) in the sweep's own frame."""
    for other in (index - 1, index + 1):
        if not 0 <= other < len(poses) or not (np.isfinite(poses[index]).all() and np.isfinite(poses[other]).all()):
            continue
        seconds = float(timestamps[other] - timestamps[index]) / 1e9
        if 0 < abs(seconds) <= 1.5 / rate:
            motion = ego_motion(poses[other], poses[index])  # the other sweep's frame, seen from this one
            return rotation_vector(motion[:3, :3]) / seconds, motion[:3, 3] / seconds
    return None


def _move_back(points: np.ndarray, times: np.ndarray, turn: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    wide, seconds = points.astype(np.float64), times.astype(np.float64)[:, None]
    return (_rotate(wide, seconds * turn) + seconds * velocity).astype(np.float32)


def _rotate(points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, an own rotation vector (N, 3) for each point."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    along = (axis * points).sum(axis=1, keepdims=True) * axis
    return points * np.cos(angle) + np.cross(axis, points) * np.sin(angle) + along * (1 - np.cos(angle))


def rotation_vector(rotmat: np.ndarray) -> np.ndarray:
    """Compute (3,) axis times angle of a rotation by less than a half turn."""
    sine = np.array([rotmat[2, 1] - rotmat[1, 2], rotmat[0, 2] - rotmat[2, 0], rotmat[1, 0] - rotmat[0, 1]]) / 2
    norm = np.linalg.norm(sine)
    angle = np.arctan2(norm, (np.trace(rotmat) - 1) / 2)
    return sine if norm < 1e-12 else sine / norm * angle
