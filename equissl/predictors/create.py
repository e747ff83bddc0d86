"""Predictors by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from equissl.util.registry import Registry, accepted

PREDICTORS: Registry[Callable[..., nn.Module]] = Registry(
    "predictor",
    {
        "hypernetwork": "equissl.predictors.hypernetwork:LinearHypernetwork",
        "mlp": "equissl.predictors.mlp:MLPPredictor",
        "embedded_action": "equissl.predictors.embedded_action:EmbeddedActionPredictor",
    },
    group="equissl.predictors",
    base=nn.Module,
)


def create_predictor(
    name: str, dim: int, identity_action: Sequence[float], options: dict[str, Any] | None = None
) -> nn.Module:
    """Create a learned predictor with fresh weights, called as ``predictor(embedding (B, D), action (B, A))``.

    Args:
        name: one of :data:`PREDICTORS`, or the import path of a module that takes D and A.
        dim: D, size of embedding and prediction.
        identity_action: the action, of size A, when nothing changes; predictors with an argument of that name get it.
        options: further arguments of the predictor.

    Raises:
        ValueError: for an unknown name.
    """
    predictor = PREDICTORS[name]
    settings = accepted(predictor, {"identity_action": identity_action})
    return predictor(dim, len(identity_action), **{**settings, **(options or {})})
