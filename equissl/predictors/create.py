"""Predictors by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from equissl.predictors.hypernetwork import LinearHypernetwork
from equissl.predictors.mlp import MLPPredictor


def create_predictor(
    name: str, dim: int, identity_action: Sequence[float], options: dict[str, Any] | None = None
) -> nn.Module:
    """A learned predictor with fresh weights, called as ``predictor(embedding (B, D), action (B, A))``.

    Args:
        name: ``hypernetwork`` or ``mlp``.
        dim: D, size of embedding and prediction.
        identity_action: the action, of size A, when nothing changes.
        options: further arguments of :class:`LinearHypernetwork` or :class:`MLPPredictor`.

    Raises:
        ValueError: for an unknown name.
    """
    options = options or {}
    if name == "hypernetwork":
        return LinearHypernetwork(dim, len(identity_action), **{"identity_action": identity_action, **options})
    if name == "mlp":
        return MLPPredictor(dim, len(identity_action), **options)
    raise ValueError(f"expected predictor to be 'hypernetwork' or 'mlp', got {name!r}")
