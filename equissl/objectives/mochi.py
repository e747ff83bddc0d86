"""MoCHi as an objective: MoCo whose queue also gives synthetic hard negatives (Kalantidis et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.mochi import mochi
from equissl.objectives.base import Embedded
from equissl.objectives.moco import MoCo
from equissl.objectives.teacher_views import on_device, promoted


class MoCHi(MoCo):
    """`MoCo` with mixtures of each query's hardest negatives among its negatives.

    Args:
        dim: width of the embeddings.
        queue: past embeddings that serve as negatives.
        hardest: how many of a query's most similar negatives are mixed, at most ``queue``.
        mixed: mixtures of two negatives for each query.
        query_mixed: mixtures of a negative with the query.
        temperature: divides the cosines.
        warmup: training batches before the mixing starts, plain `MoCo` until then (10 to 15 epochs in the paper).
        detach: mixtures hold the query as a constant.
        momentum: of the teacher, at the first and at the last step.
    """

    batches: Tensor

    def __init__(
        self,
        dim: int,
        queue: int = 65536,
        hardest: int = 1024,
        mixed: int = 1024,
        query_mixed: int = 128,
        temperature: float = 0.2,
        warmup: int = 0,
        detach: bool = True,
        momentum: tuple[float, float] = (0.999, 0.999),
    ) -> None:
        super().__init__(dim, queue, temperature, momentum)
        if hardest > queue or hardest < 2 or min(mixed, query_mixed, warmup) < 0:
            raise ValueError(
                f"expected 2 <= hardest <= queue and mixtures and warmup from 0, got hardest {hardest}, queue {queue}, "
                f"mixtures {mixed} and {query_mixed}, warmup {warmup}"
            )
        self.hardest, self.mixed, self.query_mixed = hardest, mixed, query_mixed
        self.warmup, self.detach = warmup, detach
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def remember(self, batch: Embedded) -> None:
        super().remember(batch)
        self.batches += 1

    def compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        if self.batches < self.warmup:
            return super().compare(queries, keys)
        return mochi(
            queries,
            keys,
            promoted(self.queue(), queries),
            self.hardest,
            self.mixed,
            self.query_mixed,
            self.temperature,
            self.detach,
            on_device(self.generator(), queries.device),
        )
