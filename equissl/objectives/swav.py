"""SwAV as an objective of embeddings: prototypes, their freeze, and the queue (Caron et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.feature_queue import FeatureQueue
from equissl.losses.precision import unit_norm
from equissl.losses.prototypes import Prototypes
from equissl.losses.swav import swav
from equissl.objectives.base import Embedded, Objective


class SwAV(Objective):
    """Prediction of the balanced cluster codes of the large crops of an instance from each of its views.

    Args:
        dim: width of the embeddings.
        prototypes: K; should not be far above the batch size unless there is a queue.
        assign: how many of the first views give codes; with multi-crop, the large crops.
        temperature: divides the scores.
        epsilon: smoothness of the codes.
        iterations: of Sinkhorn.
        freeze: steps during which the prototypes stay as they were drawn (313 in the paper).
        queue: past batches' embeddings that balance the codes beside the batch; 0 is none. Used once it is full.
    """

    steps: Tensor

    def __init__(
        self,
        dim: int,
        prototypes: int = 3000,
        assign: int = 2,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        freeze: int = 313,
        queue: int = 0,
    ) -> None:
        super().__init__()
        self.prototypes = Prototypes(dim, prototypes)
        self.queue = FeatureQueue(queue, (assign, dim)) if queue else None
        self.assign, self.temperature, self.epsilon, self.iterations = assign, temperature, epsilon, iterations
        self.freeze = freeze
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        scores = self.score(batch.z)
        with torch.no_grad():
            past = self.score(self.queue()) if self.queue is not None and self.queue.full else None
        loss = swav(scores, self.assign, self.temperature, self.epsilon, self.iterations, past)
        if self.queue is not None and self.training:
            self.queue.enqueue(unit_norm(batch.z.detach()[:, : self.assign]))
        return loss, {"swav": loss.detach()}

    def score(self, embeddings: Tensor) -> Tensor:
        """Compute similarities (..., K) of embeddings (..., D); frozen prototypes get a gradient of zero, not none."""
        if self.steps >= self.freeze:
            return self.prototypes(embeddings)
        weight = self.prototypes.weight
        still = {"weight": weight.detach() + 0 * weight}
        return torch.func.functional_call(self.prototypes, still, (embeddings,))

    def after_step(self) -> None:
        self.prototypes.normalize_()
        self.steps += 1
