"""W-MSE: views pulled together after whitening, without negatives (Ermolov et al., ICML 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import full_precision, unit_norm
from equissl.losses.views import check_views, view_pairs
from equissl.losses.whitening import cholesky_whiten


@full_precision
def w_mse(
    embeddings: Tensor,
    chunk: int | None = None,
    iterations: int = 1,
    eps: float = 0.0,
    normalize: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Compute the mean squared difference of Cholesky-whitened views, over unordered pairs of views.

    Each view is whitened alone, in chunks of a random partition of the batch (the same one for all views).

    Args:
        embeddings: (B, V, D) embeddings of the global batch, not normalised.
        chunk: samples per chunk, a divisor of B above D (2 D in the paper); None whitens the batch as a whole.
        iterations: number of partitions to average over.
        eps: share of the identity in the covariance; above 0 collapse is finite and chunks may be smaller than D.
        normalize: ``2 - 2 cos`` of the whitened rows, as published; False takes the mean over batch and dimensions.
        generator: source of the partitions, on the CPU. Several processes must pass generators in the same state, so
            that all compute one loss.

    Returns:
        Scalar in [0, 4] where ``normalize``; 0 for equal views.

    Raises:
        ValueError: for another shape, a batch of one, one view, a chunk that does not divide B or is too small, and for
            a singular covariance at eps 0 (collapse). NaN and infinite values are no error: they give NaN.
    """
    check_views(embeddings, "W-MSE")
    batch = embeddings.shape[0]
    size = batch if chunk is None else chunk
    if size < 2 or batch % size:
        raise ValueError(f"expected a chunk of at least 2 that divides the batch of {batch}, got {size}")
    if iterations < 1:
        raise ValueError(f"expected at least 1 iteration, got {iterations}")
    rounds = 1 if size == batch else iterations  # the whole batch has one partition only
    orders = [_order(batch, size, embeddings, generator) for _ in range(rounds)]
    return torch.stack([_partition(embeddings[order], size, eps, normalize) for order in orders]).mean()


def _order(batch: int, size: int, x: Tensor, generator: torch.Generator | None) -> Tensor:
    order = torch.arange(batch) if size == batch else torch.randperm(batch, generator=generator)
    return order.to(x.device)


def _partition(x: Tensor, size: int, eps: float, normalize: bool) -> Tensor:
    chunks = x.unflatten(0, (-1, size)).transpose(1, 2)  # (chunks, V, size, D)
    # Factorisations raise at NaN; some other chunk of full rank takes its place, and its result is NaN again.
    broken = ~chunks.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    stand_in = torch.eye(size, x.shape[2], dtype=x.dtype, device=x.device)
    white = cholesky_whiten(torch.where(broken, stand_in, chunks), eps)
    white = white.masked_fill(broken, float("nan"))
    white = unit_norm(white) if normalize else white
    squares = [(white[:, v] - white[:, w]).square() for v, w in view_pairs(x.shape[1])]
    return torch.stack([(s.sum(dim=-1) if normalize else s).mean() for s in squares]).mean()
