"""Objectives without state: a loss function and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from equissl.objectives.base import Embedded, Need
from equissl.objectives.queries import QueryObjective, in_turn

# Arguments of a loss function that come from the batch, not from the config.
_INPUTS = ("z", "embeddings", "labels", "group_ids", "generator")


def option_names(function: Callable[..., Any]) -> list[str]:
    """Return the parameters of a loss function that a config may set."""
    return [name for name in inspect.signature(function).parameters if name not in _INPUTS]


class FunctionObjective(QueryObjective):
    """A loss function of (B, V, D) embeddings, and of labels, groups or a generator where its signature names them.

    Args:
        name: of the term in the log.
        function: the loss.
        options: its keyword arguments.
        most_views: how many views it is defined for; None is any number.
    """

    def __init__(
        self, name: str, function: Callable[..., Tensor], options: dict[str, Any], most_views: int | None = None
    ) -> None:
        super().__init__()
        parameters = inspect.signature(function).parameters
        self.term, self.function, self.options, self.most_views = name, function, options, most_views
        self.random = "generator" in parameters
        asked: tuple[Need, ...] = ("labels", "group_ids")
        self.needs = frozenset(need for need in asked if need in parameters)

    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        inputs: dict[str, Any] = {need: batch.require(need) for need in self.needs}

        def loss(z: Tensor) -> Tensor:
            drawn = {"generator": self.generator()} if self.random else {}
            return self.function(z, **inputs, **drawn, **self.options)

        return in_turn(loss, queries, batch.z)

    def extra_repr(self) -> str:
        return ", ".join([self.term, *(f"{key}={value}" for key, value in self.options.items())])
