"""Retrieval with predicted embeddings, streamed: MRR, H@k and prediction retrieval error (SIE, arXiv 2302.10283).

The embedding of a view is predicted from another view of the object and the rotation between them, then looked up among
real embeddings. **MRR** and **H@k** rank the true view among the views of the same object. **PRE** takes the nearest of
all views of a data set and measures how far its pose is from the wanted one, ``1 - <q, q'>²``.

Ties are shared out: among e candidates that tie for ranks g+1..g+e, the true one takes each with chance 1/e. So an
embedding that has collapsed scores as a random order does, not 1 and not 1/V.

Nothing here holds more than one block of scores, so memory is that of the embeddings (which may be memory-mapped) and a
block.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

HITS = (1, 2, 5, 10)
NORM_EPS = 1e-8  # added to norms, as published


def view_ranks(predicted: Tensor, candidates: Tensor, target: Tensor, normalize: bool = True) -> tuple[Tensor, Tensor]:
    """Where the true view ranks among the views of the same object, for a block of n objects.

    Args:
        predicted: (n, Q, E) predicted embeddings.
        candidates: (n, V, E) embeddings of all views.
        target: (n, Q) or (Q,) index of the true view of each query.
        normalize: rank by cosine, as published; False ranks by dot product.

    Returns:
        Two (n, Q) int64 on the CPU: how many candidates score above the true one, and how many score the same,
        itself included.

    Raises:
        ValueError: for shapes that do not fit, target indices out of range, or scores that are not finite.
    """
    shapes = ", ".join(str(tuple(x.shape)) for x in (predicted, candidates, target))
    fits = predicted.ndim == candidates.ndim == 3 and target.shape in (predicted.shape[:2], predicted.shape[1:2])
    if not fits or (len(predicted), predicted.shape[2]) != (len(candidates), candidates.shape[2]):
        raise ValueError(f"expected predicted (n, Q, E), candidates (n, V, E) and target (n, Q) or (Q,), got {shapes}")
    _check_target(target, candidates.shape[1])
    scores = predicted.float() @ _scaled(candidates, normalize).mT
    _check_scores(scores)
    own = scores.gather(2, target.to(scores.device).expand(scores.shape[:2])[..., None])
    return (scores > own).sum(2).cpu(), (scores == own).sum(2).cpu()


def mean_reciprocal_rank(above: Tensor, tied: Tensor) -> float:
    """Mean of 1 / rank from the counts of :func:`view_ranks`, in float64; ties count their expectation."""
    return float(reciprocal_ranks(above, tied).mean())


def reciprocal_ranks(above: Tensor, tied: Tensor) -> Tensor:
    """Expected 1 / rank of every query, float64: the mean of 1/(g+1) … 1/(g+e).

    Example:
        >>> reciprocal_ranks(torch.tensor([0, 2, 0]), torch.tensor([1, 1, 4]))
        tensor([1.0000, 0.3333, 0.5208], dtype=torch.float64)
    """
    _check_counts(above, tied)
    harmonic = _harmonic(int((above + tied).max()))
    return (harmonic[above + tied] - harmonic[above]) / tied


def hit_rate(above: Tensor, tied: Tensor, k: int) -> float:
    """Share of queries whose true view is among the k nearest (H@k), in float64; ties count their expectation.

    Raises:
        ValueError: for k below 1, no queries, or counts that no ranking gives.
    """
    _check_counts(above, tied)
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    return float(((k - above) / tied).clamp(0, 1).double().mean())


def chance_mrr(views: int) -> float:
    """MRR of a random order of ``views`` candidates, H_V / V: 0.0900 for 50."""
    return float(_harmonic(views)[-1] / views)


def embedding_scale(candidates: Tensor, rows: int = 65_536) -> Tensor:
    """(C,) factor that makes each row of (C, E) unit length, read in blocks of ``rows``."""
    return torch.cat([1 / (block.float().norm(dim=1) + NORM_EPS) for block in candidates.split(rows)])


def nearest_candidates(queries: Tensor, candidates: Tensor, scale: Tensor | None = None, rows: int = 16_384) -> Tensor:
    """Index of the candidate with the highest score for each query; the lowest index where several tie.

    Args:
        queries: (Q, E) predicted embeddings, as many as a block of scores (Q, ``rows``) may have rows.
        candidates: (C, E) embeddings, on any device or memory-mapped.
        scale: (C,) factors of the candidates, from :func:`embedding_scale` to rank by cosine; None ranks by dot
            product. The length of a query does not change its ranking.
        rows: candidates compared at a time.

    Returns:
        (Q,) int64 on the device of ``queries``.

    Raises:
        ValueError: for shapes that do not fit, no candidates, or scores that are not finite.
    """
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1] or not len(candidates):
        got = f"{tuple(queries.shape)} and {tuple(candidates.shape)}"
        raise ValueError(f"expected queries (Q, E) and candidates (C, E) with C >= 1, got {got}")
    queries = queries.float()
    best = queries.new_full((len(queries),), -torch.inf)
    index = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    for start in range(0, len(candidates), rows):
        scores = queries @ candidates[start : start + rows].to(queries.device, torch.float32).T
        if scale is not None:
            scores *= scale[start : start + rows].to(queries.device)
        value, place = scores.max(dim=1)
        _check_scores(value)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, place + start, index)
    return index


def pose_distances(quats: Tensor, others: Tensor) -> Tensor:
    """(N,) ``1 - <q, q'>²`` in float64, the same for both signs of a quaternion: 0 for equal poses, 1 at 180°."""
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
        queries: blocks of predicted embeddings (q, E) and wanted poses (q, 4).
        candidates: (C, E) embeddings of all views.
        candidate_quats: (C, 4) their poses.
        normalize: nearest by cosine, as published; False by dot product.
        rows: candidates compared at a time.

    Returns:
        (Q,) float64 on the CPU.

    Raises:
        ValueError: for shapes that do not fit, no query, or scores that are not finite.
    """
    if candidate_quats.shape != (len(candidates), 4):
        expected = (len(candidates), 4)
        raise ValueError(f"expected candidate poses of shape {expected}, got {tuple(candidate_quats.shape)}")
    scale = embedding_scale(candidates) if normalize else None
    errors = []
    for predicted, quats in queries:
        index = nearest_candidates(predicted, candidates, scale, rows).to(candidate_quats.device)
        errors.append(pose_distances(quats.cpu(), candidate_quats[index].cpu()))
    if not errors:
        raise ValueError("expected at least one query, got none")
    return torch.cat(errors)


def chance_pre(target: Tensor, candidates: Tensor) -> float:
    """PRE of a candidate drawn at random: the mean over all pairs, from the second moments of (N, 4) quaternions."""
    target, candidates = (quats.double().cpu() for quats in (target, candidates))
    moments = [quats.T @ quats / len(quats) for quats in (target, candidates)]
    return float(1 - (moments[0] * moments[1]).sum())


def _scaled(candidates: Tensor, normalize: bool) -> Tensor:
    candidates = candidates.float()
    return candidates / (candidates.norm(dim=-1, keepdim=True) + NORM_EPS) if normalize else candidates


def _harmonic(n: int) -> Tensor:
    """(n + 1,) harmonic numbers H_0 … H_n."""
    terms = 1 / torch.arange(1, n + 1, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), terms.cumsum(0)])


def _check_target(target: Tensor, views: int) -> None:
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < views:
        got = f"{int(target.min())}..{int(target.max())}"
        raise ValueError(f"expected target views in 0..{views - 1}, got {got}")


def _check_scores(scores: Tensor) -> None:
    if not torch.isfinite(scores).all():
        raise ValueError(f"expected finite scores, got {int((~torch.isfinite(scores)).sum())} NaN or infinite values")


def _check_counts(above: Tensor, tied: Tensor) -> None:
    if above.shape != tied.shape or not above.numel() or int(tied.min()) < 1 or int(above.min()) < 0:
        raise ValueError(
            "expected counts of at least one query, above >= 0 and tied >= 1 (the true view itself), got "
            f"shapes {tuple(above.shape)} and {tuple(tied.shape)}"
        )
