"""Objectives that compare queries with keys, so that other queries can take the place of a batch's own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from equissl.objectives.base import Embedded, Objective


class QueryObjective(Objective):
    """An objective in three parts: queries of a batch, their loss against its keys, and what is remembered of it.

    Attributes:
        term: name of the loss in the log.
    """

    term: str

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.query_loss(self.queries(batch), batch)
        if self.training:
            self.remember(batch)
        return loss, {self.term: loss.detach()}

    def queries(self, batch: Embedded) -> Tensor:
        """Return what is compared with keys, (B, V, D): the embeddings, or predictions from them."""
        return batch.z

    def partners(self, queries: Tensor, batch: Embedded) -> Tensor:
        """Return what each query of two views is drawn to, (B, 2, D), in the space of the queries.

        Args:
            queries: (B, 2, D) of the batch.
            batch: of two views.
        """
        return queries.flip(1)

    @abstractmethod
    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        """Compute the loss of queries (B, V, D) against the keys of the batch; no state moves.

        Args:
            queries: the batch's own, or others in their place.
            batch: global batch.
        """

    def remember(self, batch: Embedded) -> None:
        """Move the state after the loss of a training batch."""


def in_turn(loss: Callable[[Tensor], Tensor], queries: Tensor, z: Tensor) -> Tensor:
    """Compute a loss whose rows are queries and keys at once, of queries in the place of one view after the other.

    Args:
        loss: of (B, V, D) embeddings.
        queries: (B, V, D).
        z: (B, V, D) embeddings, which are the keys.

    Returns:
        the mean over views; the loss of ``z`` where these are the queries, computed once.
    """
    if queries is z:
        return loss(z)
    own = torch.eye(z.shape[1], dtype=torch.bool, device=z.device)[..., None]  # (V, V, 1)
    return torch.stack([loss(torch.where(view, queries, z)) for view in own]).mean()
