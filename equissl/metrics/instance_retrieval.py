"""Retrieval of the object of a view: the nearest of all other views, by cosine, is to be another view of it."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.metrics.retrieval import check_scores, tie_tolerance

ELEMENTS = 2**24  # of a block of scores


def instance_hits(embeddings: Tensor) -> Tensor:
    """Compute whether the nearest other view of each view shows the same object; its mean is R@1.

    Views that tie for the nearest are drawn with equal chance, so that a collapsed embedding scores as a view drawn at
    random does: (V - 1) / (N V - 1).

    Args:
        embeddings: (N, V, E) of V views of each of N objects, N and V at least 2; on any device.

    Returns:
        (N, V) float64 on the CPU, in [0, 1].

    Raises:
        ValueError: for other shapes, or scores that are not finite.
    """
    if embeddings.ndim != 3 or min(embeddings.shape[:2], default=0) < 2:
        raise ValueError(f"expected at least 2 views of each of 2 objects (N, V, E), got {tuple(embeddings.shape)}")
    objects, views, _ = embeddings.shape
    rows = torch.nn.functional.normalize(embeddings.flatten(0, 1).float(), dim=1)
    owners = torch.arange(objects, device=rows.device).repeat_interleave(views)
    order, step = torch.arange(len(rows), device=rows.device), max(1, ELEMENTS // len(rows))
    found = [_hits(rows, owners, order[start : start + step]) for start in range(0, len(rows), step)]
    return torch.cat(found).view(objects, views)


def _hits(rows: Tensor, owners: Tensor, queries: Tensor) -> Tensor:
    scores = rows[queries] @ rows.T
    check_scores(scores)
    scores.scatter_(1, queries[:, None], float("-inf"))
    limit = tie_tolerance(rows[queries], torch.ones(1, device=rows.device))[:, None]
    nearest = scores >= scores.amax(dim=1, keepdim=True) - limit
    own = nearest & (owners[queries, None] == owners)
    return own.sum(dim=1).double().cpu() / nearest.sum(dim=1).cpu()
