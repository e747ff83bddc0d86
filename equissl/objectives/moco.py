"""MoCo as an objective: the queue of the teacher's past embeddings (He et al., CVPR 2020)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.moco import moco
from equissl.objectives.base import Embedded, Need
from equissl.objectives.queries import QueryObjective
from equissl.objectives.teacher_views import cross_view_pairs, enqueue_views, promoted, teacher_views


class MoCo(QueryObjective):
    """Contrast of every view with the teacher's embedding of each other view, against those of past objects.

    The mean over all ordered pairs of views; for two views both directions, where the paper has one. The teacher's
    embeddings of all views enter the queue after the loss, so of V views it remembers ``queue / V`` objects.

    Args:
        dim: width of the embeddings.
        queue: past embeddings that serve as negatives.
        temperature: divides the cosines (0.07 in version 1).
        momentum: of the teacher, at the first and at the last step.
    """

    needs: frozenset[Need] = frozenset({"teacher"})

    def __init__(
        self,
        dim: int,
        queue: int = 65536,
        temperature: float = 0.2,
        momentum: tuple[float, float] = (0.999, 0.999),
    ) -> None:
        super().__init__()
        self.term = type(self).__name__.lower()
        self.queue = FeatureQueue(queue, dim)
        self.temperature, self.momentum = temperature, momentum

    def partners(self, queries: Tensor, batch: Embedded) -> Tensor:
        return teacher_views(batch, type(self).__name__).flip(1)

    def query_loss(self, queries: Tensor, batch: Embedded) -> Tensor:
        return self.compare(*cross_view_pairs(replace(batch, z=queries), type(self).__name__))

    def remember(self, batch: Embedded) -> None:
        enqueue_views(self.queue, teacher_views(batch, type(self).__name__))

    def compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Compute the loss of queries (A, D) with their keys (A, D) and the queue.

        Args:
            queries: embeddings (A, D) of the student.
            keys: embeddings (A, D) of the teacher, of the same samples.
        """
        return moco(queries, keys, promoted(self.queue(), queries), self.temperature)
