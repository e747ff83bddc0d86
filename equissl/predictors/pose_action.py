"""Predictor without parameters: pose matrices are multiplied by the transformation."""

from __future__ import annotations

from torch import Tensor

from equissl.losses import full_precision


@full_precision
def pose_action(poses: Tensor, transformation: Tensor) -> Tensor:
    """Compute poses after the transformation, Q_k = P_k·G (EquiCaps, arXiv 2506.09895).

    Right multiplication, because relative transformations are expressed in the first view's object frame: R2 = R1·R12.

    Args:
        poses: P, (B, K, n, n).
        transformation: G, (B, n, n).

    Returns:
        (B, K, n, n).

    Raises:
        ValueError: if the shapes do not fit.
    """
    expected = (poses.shape[0], *poses.shape[2:])
    if poses.ndim != 4 or tuple(transformation.shape) != expected or poses.shape[2] != poses.shape[3]:
        got = (tuple(poses.shape), tuple(transformation.shape))
        raise ValueError(f"expected poses (B, K, n, n) and transformation (B, n, n), got {got}")
    return poses @ transformation.to(poses.dtype).unsqueeze(1)
