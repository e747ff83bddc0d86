"""Cosine logits between rows, and their log-sum-exp over chosen keys without keeping large tables.

A vector of zero length has no direction: its cosine with everything is 0 and it gets no gradient. NaN and infinite
embeddings give NaN, which the caller sees.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from equissl.losses.precision import unit_norm

# Tables of logits beyond this many elements (256 MiB in float32) are built block by block, and again in the backward.
TABLE_ELEMENTS = 2**26


def unit_views(z: Tensor, purpose: str, views: int = 2) -> Tensor:
    """Normalise a batch of views to unit vectors.

    Args:
        z: (B, V, D) embeddings of the global batch: V views of each of B instances.
        purpose: name of the objective, for messages.
        views: fewest views the objective is defined for.

    Returns:
        (B, V, D) of unit length; zero vectors stay zero.

    Raises:
        ValueError: for another number of dimensions, fewer than 2 instances (no negatives) or fewer than ``views``.
    """
    check_contrasted(z, purpose, views)
    return unit_norm(z)


def check_contrasted(z: Tensor, purpose: str, views: int = 2) -> None:
    """Raise ValueError unless ``z`` is (B, V, D) with at least 2 instances and ``views`` views.

    Args:
        z: embeddings of the global batch.
        purpose: name of the objective, for messages.
        views: fewest views the objective is defined for.
    """
    if z.ndim != 3 or z.shape[2] == 0:
        raise ValueError(f"{purpose} expected embeddings of shape (B, V, D), got {tuple(z.shape)}")
    if z.shape[0] < 2:
        raise ValueError(f"{purpose} needs a batch of at least 2 samples, got {z.shape[0]} (shape {tuple(z.shape)})")
    if z.shape[1] < views:
        raise ValueError(f"{purpose} needs at least {views} views, got {z.shape[1]} (shape {tuple(z.shape)})")


def check_temperature(temperature: float | Tensor) -> None:
    """Raise ValueError for a number that is not positive; a learnable tensor is not read, which would wait for it."""
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}")


def view_logits(z: Tensor, temperature: float | Tensor) -> Tensor:
    """Compute (B, V, V - 1) logits of each view with the other views of its instance, in their order.

    Args:
        z: (B, V, D) unit vectors.
        temperature: divides the cosines.
    """
    views = z.shape[1]
    others = torch.arange(views - 1, device=z.device).expand(views, -1)
    others = others + (others >= torch.arange(views, device=z.device)[:, None])
    table = z @ (z / temperature).mT
    return table.gather(2, others.expand(len(z), -1, -1))


def log_sum(
    queries: Tensor,
    keys: Tensor,
    temperature: float | Tensor,
    excluded: Tensor | None = None,
    groups: tuple[Tensor, Tensor] | None = None,
    hardest: int | None = None,
    tables: int = 1,
    log_weights: Tensor | None = None,
) -> Tensor:
    """Compute ``log sum_k w_k exp(q.k / temperature)`` over the keys that each query admits.

    Args:
        queries: (A, D) unit vectors.
        keys: (N, D) unit vectors.
        temperature: divides the cosines.
        excluded: (A, E) positions of keys that a query does not see.
        groups: ids (A,) of queries and (N,) of keys; a query sees only the keys of its own group.
        hardest: only this many of the largest logits are summed.
        tables: how many tables of this size the objective builds, which share the limit on memory.
        log_weights: (A, N) logarithms of the keys' weights w, finite; None for 1.

    Returns:
        (A,); minus infinity where no key is left.
    """
    if isinstance(temperature, Tensor) or temperature != 1:
        keys = keys / temperature
    count = len(queries)
    limited = tables * count * len(keys) > TABLE_ELEMENTS
    step = max(1, TABLE_ELEMENTS // len(keys)) if limited else count

    def block(start: int) -> Tensor:
        rows = slice(start, start + step)
        logits = queries[rows] @ keys.T
        if log_weights is not None:
            logits = logits + log_weights[rows]
        if excluded is not None:
            logits.scatter_(1, excluded[rows], float("-inf"))
        if groups is not None:
            logits.masked_fill_(groups[0][rows, None] != groups[1], float("-inf"))
        if hardest is not None:
            logits = logits.topk(hardest, dim=1, sorted=False).values
        return logits.logsumexp(dim=1)

    if not limited:
        return block(0)
    starts = range(0, count, step)
    return torch.cat([checkpoint(block, s, use_reentrant=False, preserve_rng_state=False) for s in starts])


def instance_negatives(z: Tensor, temperature: float | Tensor) -> Tensor:
    """Compute (B, V) log-sum-exp of each view's logits with all views of the other instances.

    Args:
        z: (B, V, D) unit vectors.
        temperature: divides the cosines.
    """
    batch, views, _ = z.shape
    own = torch.arange(batch * views, device=z.device).view(batch, views)
    rows = z.flatten(0, 1)
    return log_sum(rows, rows, temperature, own.repeat_interleave(views, dim=0)).view(batch, views)


def same_view_negatives(z: Tensor, temperature: float | Tensor) -> Tensor:
    """Compute (B, V) log-sum-exp of each view's logits with the same view of the other instances.

    Args:
        z: (B, V, D) unit vectors.
        temperature: divides the cosines.
    """
    own = torch.arange(len(z), device=z.device)[:, None]
    views = z.unbind(1)
    return torch.stack([log_sum(view, view, temperature, own, tables=len(views)) for view in views], dim=1)


def cross_view_negatives(z: Tensor, temperature: float | Tensor, hardest: int | None = None) -> Tensor:
    """(B, V, V - 1) log-sum-exp of each view's logits with another view of the other instances, as in `view_logits`.

    Args:
        z: (B, V, D) unit vectors.
        temperature: divides the cosines.
        hardest: only this many of the largest logits are summed.
    """
    own = torch.arange(len(z), device=z.device)[:, None]
    # Scaled once: every pair of views would keep a scaled copy of its keys for the backward pass, (V, V, B, D) in all.
    queries, keys = z.unbind(1), (z / temperature).unbind(1)
    views = len(queries)
    sums = [
        log_sum(queries[v], keys[w], 1.0, own, hardest=hardest, tables=views * (views - 1))
        for v in range(views)
        for w in range(views)
        if v != w
    ]
    return torch.stack(sums, dim=1).unflatten(1, (views, views - 1))
