"""Prototypes and their balanced assignment by Sinkhorn-Knopp (Caron et al., SwAV, NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.losses.precision import full_precision, unit_norm

# Logits this far below the largest of their row are lifted to it: a share below 1e-30 is none, but arithmetic with
# numbers near the smallest float is tens of times slower.
_LOWEST = -70.0
# Iterations before the scales of rows and columns, whose growth is what could make such shares matter, go back into the
# logits.
_RUN = 4


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Compute the soft codes that spread the samples evenly over the prototypes; no gradient.

    No exponential overflows and no sum vanishes, so that any epsilon is safe. Adding a constant to one prototype's
    scores changes nothing; adding one to a sample's scores does.

    Args:
        scores: (B, K) similarities of the global batch to the prototypes, or (B, V, K), whose views are balanced
            separately.
        epsilon: smoothness; small values give nearly hard codes.
        iterations: number of alternating normalisations. Only many of them give every prototype the mass B / K.

    Returns:
        Codes of the same shape, non-negative, rows sum to 1; 1 / K where all samples score alike (collapse). NaN
        throughout a view that holds NaN or positive infinity.

    Raises:
        ValueError: for another shape, fewer than 2 samples, epsilon or iterations not positive.
    """
    if scores.ndim not in (2, 3) or scores.shape[0] < 2 or 0 in scores.shape:
        raise ValueError(f"expected scores of shape (B, K) or (B, V, K) with B >= 2, got {tuple(scores.shape)}")
    if epsilon <= 0 or iterations < 1:
        raise ValueError(f"expected positive epsilon and iterations, got {epsilon} and {iterations}")
    if scores.ndim == 2:
        return _balance(scores[:, None], epsilon, iterations)[:, 0]
    return _balance(scores, epsilon, iterations)


def _balance(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    for _ in range((iterations - 1) // _RUN):
        kernel, start = _kernel(scores, epsilon)
        rows, _ = _scales(kernel, start.exp(), _RUN)
        # Constants of columns need no keeping: the next run starts by normalising columns.
        scores = scores + epsilon * (rows.log() - start)[..., None]
    kernel, start = _kernel(scores, epsilon)
    rows, columns = _scales(kernel, start.exp(), (iterations - 1) % _RUN + 1)
    return kernel.mul_(rows[..., None]).mul_(columns)


def _kernel(scores: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Exponentials of the (B, V, K) logits with a 1 in every column and row, and the (B, V) logs taken out of rows."""
    logits = torch.add(scores.amax(dim=0) / -epsilon, scores, alpha=1 / epsilon)
    peaks = logits.amax(dim=-1)
    return logits.sub_(peaks[..., None]).clamp_(min=_LOWEST).exp_(), peaks


def _scales(kernel: Tensor, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """(B, V) scales of rows and (V, K) of columns; products with vectors, so that the table is only read."""
    tables, rows = kernel.unbind(dim=1), list(start.unbind(dim=1))
    for _ in range(iterations):
        columns = [torch.mv(table.T, row).reciprocal_() for table, row in zip(tables, rows, strict=True)]
        rows = [torch.mv(table, column).reciprocal_() for table, column in zip(tables, columns, strict=True)]
    return torch.stack(rows, dim=1), torch.stack(columns)


class Prototypes(nn.Module):
    """K learnable unit vectors that embeddings are scored against.

    Call `normalize_` before every step: an optimiser step leaves the sphere.

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

    @full_precision
    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (..., D), of any length, to the scores (..., K): cosines while the prototypes are unit vectors."""
        if embeddings.shape[-1] != self.weight.shape[1]:
            raise ValueError(f"expected embeddings of width {self.weight.shape[1]}, got {tuple(embeddings.shape)}")
        return unit_norm(embeddings) @ self.weight.to(embeddings.dtype).T

    def extra_repr(self) -> str:
        return f"dim={self.weight.shape[1]}, count={self.weight.shape[0]}"
