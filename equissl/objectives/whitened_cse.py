"""WhitenedCSE as an objective of embeddings: shuffled group whitening, a projection head, and the loss."""

from __future__ import annotations

from torch import Tensor, nn

from equissl.losses.precision import full_precision
from equissl.losses.whitened_cse import whitened_copies, whitened_cse
from equissl.losses.whitening import WhiteningMethod
from equissl.objectives.base import Embedded, Objective


class WhitenedCSE(Objective):
    """Contrast of embeddings whitened in shuffled groups of channels and passed through ``Linear -> tanh``.

    The first view's first copy is the anchor. The head belongs to training only: what is evaluated lies before it.

    Args:
        dim: width of the embeddings.
        groups: of channels, a divisor of ``dim`` (128 of 768 channels in the paper); None takes the fewest with
            groups at most half as wide as the batch.
        copies: how often each view is whitened.
        temperature: divides the cosine similarities.
        method: of whitening: "eigh", "newton_schulz" (no decomposition, approximate) or "cholesky".
        eps: share of the identity in the covariance.

    Raises:
        ValueError: for groups that do not divide ``dim``, or copies below 1.
    """

    def __init__(
        self,
        dim: int,
        groups: int | None = None,
        copies: int = 2,
        temperature: float = 0.05,
        method: WhiteningMethod = "eigh",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if groups is not None and (groups < 1 or dim % groups):
            raise ValueError(f"expected a number of groups that divides {dim} dimensions, got {groups}")
        if copies < 1:
            raise ValueError(f"expected at least 1 copy of each view, got {copies}")
        self.head = nn.Linear(dim, dim)
        self.groups, self.copies, self.temperature, self.method, self.eps = groups, copies, temperature, method, eps
        self.fewest_views = 2 if copies == 1 else 1

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        white = whitened_copies(batch.z, self.copies, self.groups, self.method, self.eps, generator=self.generator())
        loss = whitened_cse(self.project(white), self.temperature)
        return loss, {"whitened_cse": loss.detach()}

    @full_precision
    def project(self, white: Tensor) -> Tensor:
        """Project (..., D) whitened rows through the head, in the precision of its weights or better."""
        weight = self.head.weight.to(white.dtype)
        return nn.functional.linear(white, weight, self.head.bias.to(white.dtype)).tanh()

    def extra_repr(self) -> str:
        return f"groups={self.groups}, copies={self.copies}, method={self.method}, temperature={self.temperature}"
