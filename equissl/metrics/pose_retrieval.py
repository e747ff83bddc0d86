"""Prediction retrieval error (PRE): how far off the pose of the nearest of all views is (SIE, arXiv 2302.10283).

The embedding of a view is predicted, as in :mod:`~equissl.metrics.retrieval`, and looked up among all views of a data
set. The error is ``1 - <q, q'>²`` of the wanted pose and that of the nearest view, or the mean over the views that tie
for it, so that a collapsed embedding scores as a view drawn at random does.

Nothing here holds more than one block of scores, so memory is that of the embeddings (which may be memory-mapped) and a
block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.metrics.retrieval import NORM_EPS, check_scores, tie_tolerance

TIED_ROWS = 256  # queries whose ties are counted at a time, in float64


@dataclass(frozen=True)
class _Table:
    """All candidates, compared ``rows`` at a time.

    Attributes:
        embeddings: (C, E), on any device or memory-mapped.
        quats: (C, 4) poses.
        scale: (C,) factor of each score.
        reach: largest norm of an embedding times its factor.
        rows: of a block.
    """

    embeddings: Tensor
    quats: Tensor
    scale: Tensor
    reach: Tensor
    rows: int

    @classmethod
    def of(cls, embeddings: Tensor, quats: Tensor, normalize: bool, rows: int) -> _Table:
        norms = torch.cat([block.float().norm(dim=1) for block in embeddings.split(rows)])
        scale = 1 / (norms + NORM_EPS) if normalize else torch.ones_like(norms)
        return cls(embeddings, quats, scale, (norms * scale).max(), rows)

    def blocks(self) -> list[slice]:
        return [slice(start, start + self.rows) for start in range(0, len(self.embeddings), self.rows)]

    def scores(self, queries: Tensor, block: slice) -> Tensor:
        """(Q, rows) of float32 queries, on their device."""
        found = queries @ self.embeddings[block].to(queries.device, torch.float32).T
        return found.mul_(self.scale[block].to(queries.device))

    def moments(self, block: slice) -> Tensor:
        """(rows, 17) float64: the 16 entries of ``q qᵀ`` and a one, for means over ties."""
        quats = self.quats[block].double()
        products = (quats[:, :, None] * quats[:, None]).flatten(1)
        return torch.cat([products, torch.ones_like(products[:, :1])], 1)


def pose_distances(quats: Tensor, others: Tensor) -> Tensor:
    """Compute ``1 - <q, q'>²`` in float64, the same for both signs of a quaternion: 0 for equal poses, 1 at 180°.

    Args:
        quats, others: (N, 4) unit quaternions.

    Returns:
        (N,).
    """
    return (1 - (quats.double() * others.double()).sum(-1).square()).clamp_min(0)


def prediction_retrieval_errors(
    queries: Iterable[tuple[Tensor, Tensor]],
    candidates: Tensor,
    candidate_quats: Tensor,
    normalize: bool = True,
    rows: int = 16_384,
) -> Tensor:
    """PRE of every query, streamed over blocks of queries and of candidates. Its mean is the published number.

    Args:
        queries: blocks of predicted embeddings (q, E) and wanted poses (q, 4), as many as a block of scores (q,
            ``rows``) may have rows.
        candidates: (C, E) embeddings of all views, on any device or memory-mapped.
        candidate_quats: (C, 4) their poses.
        normalize: nearest by cosine, as published; False by dot product. The length of a query does not matter.
        rows: candidates compared at a time.

    Returns:
        (Q,) float64 on the CPU.

    Raises:
        ValueError: for shapes that do not fit, no candidate, no query, or scores that are not finite.
    """
    if candidates.ndim != 2 or not len(candidates):
        raise ValueError(f"expected candidates (C, E) with C >= 1, got {tuple(candidates.shape)}")
    if candidate_quats.shape != (len(candidates), 4):
        expected = (len(candidates), 4)
        raise ValueError(f"expected candidate poses of shape {expected}, got {tuple(candidate_quats.shape)}")
    table = _Table.of(candidates, candidate_quats, normalize, rows)
    errors = [_errors(table, predicted.float(), quats) for predicted, quats in queries]
    if not errors:
        raise ValueError("expected at least one query, got none")
    return torch.cat(errors)


def _errors(table: _Table, queries: Tensor, wanted: Tensor) -> Tensor:
    """(Q,) float64: 1 - qᵀ M q with M the mean of q' q'ᵀ over the nearest candidates."""
    if queries.ndim != 2 or queries.shape[1] != table.embeddings.shape[1]:
        expected = f"(Q, {table.embeddings.shape[1]})"
        raise ValueError(f"expected queries of shape {expected}, got {tuple(queries.shape)}")
    moments = _nearest_moments(table, queries)
    mean = (moments[:, :16] / moments[:, 16:]).unflatten(1, (4, 4))
    wanted = wanted.double().cpu()
    return (1 - torch.einsum("ni,nij,nj->n", wanted, mean, wanted)).clamp_min(0)


def _nearest_moments(table: _Table, queries: Tensor) -> Tensor:
    """(Q, 17) float64 on the CPU: the moments of a query's nearest candidates, added up.

    A first pass finds the highest score, a second one looks where it may be tied.
    """
    peaks = torch.stack([table.scores(queries, block).amax(1) for block in table.blocks()], 1)
    check_scores(peaks)
    floor = peaks.amax(1) - tie_tolerance(queries, table.reach.to(queries.device))
    moments = torch.zeros(len(queries), 17, dtype=torch.float64)
    for block, peak in zip(table.blocks(), peaks.unbind(1), strict=True):
        for near in (peak >= floor).nonzero()[:, 0].split(TIED_ROWS):
            tied = table.scores(queries[near], block) >= floor[near, None]
            moments[near.cpu()] += tied.cpu().double() @ table.moments(block).cpu()
    return moments


def chance_pre(target: Tensor, candidates: Tensor) -> float:
    """Compute PRE of a candidate drawn at random: the mean over all pairs, from second moments.

    Args:
        target: (N, 4) unit quaternions asked for.
        candidates: (M, 4) unit quaternions to draw from.
    """
    target, candidates = (quats.double().cpu() for quats in (target, candidates))
    moments = [quats.T @ quats / len(quats) for quats in (target, candidates)]
    return float(1 - (moments[0] * moments[1]).sum())
