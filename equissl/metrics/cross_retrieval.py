"""Retrieval across modalities: an embedding of one finds its partner among the embeddings of the other (R@k).

Ties are shared out as in :mod:`~equissl.metrics.retrieval`, so that a collapsed embedding scores k / N.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.metrics.retrieval import hit_rate, view_ranks

ELEMENTS = 2**24  # of a block of scores
RECALLS = (1, 5, 10)


def cross_ranks(queries: Tensor, candidates: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rank each query's partner among the candidates, by cosine, in blocks of queries.

    Args:
        queries: (Q, E) embeddings of one modality.
        candidates: (N, E) embeddings of the other.
        target: (Q,) position of each query's partner; by default query i belongs to candidate i.

    Returns:
        Two (Q,) int64 on the CPU: candidates nearer than the partner, and as near as it, itself included.

    Raises:
        ValueError: for shapes that do not fit, no queries, positions out of range, or scores that are not finite.
    """
    shapes = f"{tuple(queries.shape)} and {tuple(candidates.shape)}"
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1:] != candidates.shape[1:] or 0 in queries.shape:
        raise ValueError(f"expected queries (Q, E) and candidates (N, E), got {shapes}")
    if target is None:
        if len(queries) != len(candidates):
            raise ValueError(f"expected one candidate for each query where no target is given, got {shapes}")
        target = torch.arange(len(queries))
    if target.shape != queries.shape[:1]:
        raise ValueError(f"expected a target ({len(queries)},), got {tuple(target.shape)}")
    step = max(1, ELEMENTS // len(candidates))
    blocks = [
        view_ranks(some[None], candidates[None], places[None])
        for some, places in zip(queries.split(step), target.split(step), strict=True)
    ]
    above, tied = (torch.cat([block[0] for block in counts]) for counts in zip(*blocks, strict=True))
    return above, tied


def recall_both_ways(first: Tensor, second: Tensor, recalls: Sequence[int] = RECALLS) -> dict[str, float]:
    """Compute R@k from each modality to the other, of N pairs.

    Args:
        first: (N, E) embeddings of one modality.
        second: (N, E) of the other, in the same order.
        recalls: the k.

    Returns:
        ``forth/r1`` … from the first to the second, and ``back/r1`` …, each in [0, 1]; k / N at collapse.

    Raises:
        ValueError: as `cross_ranks`, and for k below 1.
    """
    found: dict[str, float] = {}
    for name, queries, candidates in (("forth", first, second), ("back", second, first)):
        above, tied = cross_ranks(queries, candidates)
        found |= {f"{name}/r{k}": hit_rate(above, tied, k) for k in recalls}
    return found
