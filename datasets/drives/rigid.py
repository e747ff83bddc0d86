"""Rigid transforms as files hold them."""

from __future__ import annotations

import numpy as np


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
