"""Retrieval across modalities: an embedding of one finds its partner among the embeddings of the other (R@k).

Ties are shared out as in :mod:`~equissl.metrics.retrieval`, so that a collapsed embedding scores k / N.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from equissl.metrics.retrieval import check_scores, hit_rate, tie_tolerance

ELEMENTS = 2**24  # of a block of scores
RECALLS = (1, 5, 10)


def cross_ranks(
    queries: Tensor, candidates: Tensor, owners: Tensor | None = None, owned: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rank the nearest candidate that belongs to each query among all candidates, by cosine, in blocks of queries.

    A candidate belongs to a query where both have the same number: several views of an object, or images that one
    caption describes.

    Args:
        queries: (Q, E) embeddings of one modality.
        candidates: (N, E) embeddings of the other.
        owners: (Q,) number of each query; by default query i belongs to candidate i.
        owned: (N,) number of each candidate; by default its position.

    Returns:
        Two (Q,) int64 on the CPU: candidates nearer than the nearest of the query's own, and as near as it, itself
        included.

    Raises:
        ValueError: for shapes that do not fit, no queries, a query without a candidate, or scores that are not finite.
    """
    shapes = f"{tuple(queries.shape)} and {tuple(candidates.shape)}"
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1:] != candidates.shape[1:] or 0 in queries.shape:
        raise ValueError(f"expected queries (Q, E) and candidates (N, E), got {shapes}")
    if owners is None:
        if len(queries) != len(candidates):
            raise ValueError(f"expected one candidate for each query where no owners are given, got {shapes}")
        owners = torch.arange(len(queries))
    owned = torch.arange(len(candidates)) if owned is None else owned
    if owners.shape != queries.shape[:1] or owned.shape != candidates.shape[:1]:
        got = f"{tuple(owners.shape)} and {tuple(owned.shape)}"
        raise ValueError(f"expected owners ({len(queries)},) and owned ({len(candidates)},), got {got}")
    if missing := int((~torch.isin(owners, owned)).sum()):
        raise ValueError(f"expected a candidate of every query, got none for {missing} of {len(owners)}")
    rows, step = normalize(candidates.float(), dim=1), max(1, ELEMENTS // len(candidates))
    found = [
        _ranks(block, rows, number.to(rows.device), owned.to(rows.device))
        for block, number in zip(queries.split(step), owners.split(step), strict=True)
    ]
    above, tied = (torch.cat(part) for part in zip(*found, strict=True))
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


def _ranks(queries: Tensor, rows: Tensor, owners: Tensor, owned: Tensor) -> tuple[Tensor, Tensor]:
    queries = normalize(queries.float(), dim=1)
    scores = queries @ rows.T
    check_scores(scores)
    lead = scores - scores.masked_fill(owners[:, None] != owned, float("-inf")).amax(dim=1, keepdim=True)
    limit = tie_tolerance(queries, rows.norm(dim=1).amax())[:, None]
    return (lead > limit).sum(1).cpu(), (lead.abs() <= limit).sum(1).cpu()
