"""Rotation errors in degrees, and the constant predictors to hold beside them."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.geometry import normalize_unitquat, unitquat_angle


def _quats(name: str, quats: Tensor) -> Tensor:
    if quats.ndim != 2 or quats.shape[1] != 4 or len(quats) == 0:
        raise ValueError(f"expected {name} of shape (N, 4) with N >= 1, got {tuple(quats.shape)}")
    quats = quats.detach().to("cpu", torch.float64)
    unusable = ~quats.isfinite().all(dim=1) | (quats == 0).all(dim=1)
    if unusable.any():
        bad = f"{int(unusable.sum())} bad rows of {len(quats)}"
        raise ValueError(f"expected {name} to be finite and not zero, got {bad}")
    return quats


def rotation_errors_deg(preds: Tensor, target: Tensor) -> Tensor:
    """Compute the angle of the rotation between prediction and target, for each sample.

    Args:
        preds: (N, 4) quaternions xyzw of any norm and sign, such as raw network outputs.
        target: (N, 4) quaternions xyzw.

    Returns:
        (N,) degrees in [0, 180], float64 on the CPU.

    Raises:
        ValueError: for wrong or unequal shapes, and for quaternions that are zero or not finite.

    Example:
        >>> rotation_errors_deg(torch.tensor([[0.0, 0.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 0.0, -1.0]]))
        tensor([90.], dtype=torch.float64)
    """
    preds, target = _quats("preds", preds), _quats("target", target)
    if preds.shape != target.shape:
        raise ValueError(f"expected preds and target of equal length, got {len(preds)} and {len(target)}")
    return torch.rad2deg(unitquat_angle(normalize_unitquat(preds), normalize_unitquat(target)))


def constant_quaternion(target: Tensor) -> Tensor:
    """The best constant prediction under squared error: the mean of the targets' components, not normalised.

    Args:
        target: (N, 4) quaternions under the sign policy that the predictor was trained with.

    Returns:
        (4,) float64 on the CPU.
    """
    return _quats("target", target).mean(dim=0)


def constant_rotation_prediction(target: Tensor, source: Tensor | None = None) -> Tensor:
    """Return the predictions of the constant predictor, to be scored like any other.

    Args:
        target: (N, 4) quaternions to predict.
        source: (M, 4) quaternions that the constant is fitted on (the training set); ``target`` itself when None, the
            best any constant can do.

    Returns:
        (N, 4) float64 on the CPU, the same row N times.
    """
    return constant_quaternion(target if source is None else source).expand(len(target), 4)
