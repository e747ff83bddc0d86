"""Prototypes and their balanced assignment by Sinkhorn-Knopp (Caron et al., SwAV, NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.views import check_finite

# Shares below 1e-38 vanish; of a mass above this they are less than 1e-18.
_SMALLEST_MASS = 1e-20


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes that spread the samples evenly over the prototypes; no gradient.

    Falls back to logarithms where exponentials would lose digits, so that any epsilon is safe. Adding a constant to one
    prototype's scores changes nothing; adding one to a sample's scores does.

    Args:
        scores: (B, K) similarities of the global batch to the prototypes.
        epsilon: smoothness; small values give nearly hard codes.
        iterations: number of alternating normalisations. Only many of them give every prototype the mass B / K.

    Returns:
        (B, K) codes, non-negative, rows sum to 1; 1 / K where all samples score alike (collapse).

    Raises:
        ValueError: for another shape, fewer than 2 samples, NaN or infinite values, epsilon or iterations not positive.
    """
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] == 0:
        raise ValueError(f"expected scores of shape (B, K) with B >= 2, got {tuple(scores.shape)}")
    if epsilon <= 0 or iterations < 1:
        raise ValueError(f"expected positive epsilon and iterations, got {epsilon} and {iterations}")
    check_finite("scores", scores)
    logits = scores / epsilon
    codes = None if torch.compiler.is_compiling() else _balance_shares(logits, iterations)
    return _balance_logits(logits, iterations) if codes is None else codes


def _balance_logits(logits: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        logits = logits.log_softmax(dim=0).log_softmax(dim=1)
    return logits.exp()


def _balance_shares(logits: Tensor, iterations: int) -> Tensor | None:
    """The same without logarithms; None where a prototype's or sample's mass came near the smallest float."""
    codes = (logits - logits.amax(dim=0)).exp_()
    smallest = codes.new_ones(())
    for _ in range(iterations):
        for dim in (0, 1):
            mass = codes.sum(dim=dim, keepdim=True)
            smallest = torch.minimum(smallest, mass.min())
            codes.div_(mass)
    return codes if smallest > _SMALLEST_MASS else None  # NaN, after a division 0 / 0, is not larger either


class Prototypes(nn.Module):
    """K learnable unit vectors that embeddings are scored against.

    Call `normalize_` before every step: an optimiser step leaves the sphere. While prototypes are to stay frozen (the
    first few hundred steps), call `drop_gradients` between the backward pass and the optimiser step.

    Args:
        dim: embedding width D.
        count: number of prototypes K.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        if dim < 1 or count < 2:
            raise ValueError(f"expected dim >= 1 and at least 2 prototypes, got dim {dim} and {count} prototypes")
        self.weight = nn.Parameter(unit_norm(torch.randn(count, dim)))

    @torch.no_grad()
    def normalize_(self) -> None:
        """Put every prototype back on the unit sphere."""
        self.weight.copy_(unit_norm(self.weight.float() if self.weight.dtype != torch.float64 else self.weight))

    def drop_gradients(self) -> None:
        """Forget the prototypes' gradients, so that an optimiser step skips them."""
        self.weight.grad = None

    @full_precision
    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (..., D), of any length, to the scores (..., K): cosines while the prototypes are unit vectors."""
        if embeddings.shape[-1] != self.weight.shape[1]:
            raise ValueError(f"expected embeddings of width {self.weight.shape[1]}, got {tuple(embeddings.shape)}")
        return unit_norm(embeddings) @ self.weight.to(embeddings.dtype).T

    def extra_repr(self) -> str:
        return f"dim={self.weight.shape[1]}, count={self.weight.shape[0]}"
