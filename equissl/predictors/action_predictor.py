"""Interface of predictors that are told an action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class ActionPredictor(Protocol):
    """A predictor that knows the identity action, and what an invariant embedding costs it."""

    def set_identity(self, action: Sequence[float]) -> None:
        """Take note of the action of no change, once it is known and before the first step."""

    def shortcut_share(self, actions: Tensor) -> float:
        """Compute the share of the equivariance loss that an invariant embedding leaves (N, A), 0 to 1."""


class ConcatenatedAction:
    """Answers of a predictor that concatenates the action to the embedding: weights of 0 ignore it."""

    def set_identity(self, action: Sequence[float]) -> None:
        """Do nothing: no part of it depends on the identity."""

    def shortcut_share(self, actions: Tensor) -> float:
        """Return 0: an invariant embedding leaves nothing of the loss."""
        return 0.0
