"""Range images, as the Waymo data set stores its sweeps: one row a beam, one column an azimuth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RangeSensor:
    """Directions of the pixels of one LiDAR.

    Attributes:
        extrinsic: (4, 4) sensor -> vehicle.
        lowest, highest: inclination of the beams, radians, where they are evenly spaced.
        inclinations: inclinations of each beam from the lowest up, or None (evenly spaced).
    """

    extrinsic: np.ndarray
    lowest: float
    highest: float
    inclinations: list[float] | None = None

    def rows(self, height: int) -> np.ndarray:
        """Compute (H,) inclination of each image row; row 0 is the highest beam."""
        if self.inclinations:
            if len(self.inclinations) != height:
                raise ValueError(f"expected {height} inclinations, as the image has rows, got {len(self.inclinations)}")
            return np.array(self.inclinations, dtype=np.float64)[::-1]
        return (self.lowest + (np.arange(height) + 0.5) / height * (self.highest - self.lowest))[::-1]

    def columns(self, width: int) -> np.ndarray:
        """Compute (W,) azimuth of each image column in the sensor's frame."""
        turn = np.arctan2(self.extrinsic[1, 0], self.extrinsic[0, 0])
        return (2 * (width - np.arange(width) - 0.5) / width - 1) * np.pi - turn


def image_to_points(ranges: np.ndarray, sensor: RangeSensor) -> tuple[np.ndarray, np.ndarray]:
    """Convert the pixels that hold a return to points.

    Args:
        ranges: (H, W) metres; 0 or less: no return.
        sensor: its geometry.

    Returns:
        (N, 3) float64 in the vehicle's frame, row after row; and the (H, W) bool mask of returns.
    """
    kept = ranges > 0
    row, column = np.nonzero(kept)
    inclination, azimuth = sensor.rows(ranges.shape[0])[row], sensor.columns(ranges.shape[1])[column]
    flat = np.cos(inclination)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(inclination)], axis=1)
    points = ranges[kept].astype(np.float64)[:, None] * directions
    return points @ sensor.extrinsic[:3, :3].T + sensor.extrinsic[:3, 3], kept


def pixel_poses_to_rigid(values: np.ndarray) -> np.ndarray:
    """(N, 4, 4) vehicle -> world of pixels given as roll, pitch, yaw (rad), x, y, z: ``Rz(yaw) Ry(pitch) Rx(roll)``."""
    roll, pitch, yaw = values[:, :3].astype(np.float64).T
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(angle), np.sin(angle)) for angle in (roll, pitch, yaw))
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    poses = np.zeros((len(values), 4, 4))
    poses[:, :3, :3] = np.moveaxis(np.array(rows), 2, 0)
    poses[:, :3, 3], poses[:, 3, 3] = values[:, 3:6], 1
    return poses
