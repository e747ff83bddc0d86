"""Retrieval with predicted embeddings: MRR and H@k among the views of one object (SIE, arXiv 2302.10283).

The embedding of a view is predicted from another view of the object and the rotation between them, then looked up among
the real embeddings of the object's views. :mod:`~equissl.metrics.pose_retrieval` looks it up among those of a data set.

Ties are shared out: among e candidates that tie for ranks g+1..g+e, the true one takes each with chance 1/e. So an
embedding that has collapsed scores as a random order does, not 1 and not 1/V. Scores tie where rounding alone could
have ordered them: see :func:`tie_tolerance`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

HITS = (1, 2, 5, 10)
NORM_EPS = 1e-8  # added to norms, as published


def view_ranks(predicted: Tensor, candidates: Tensor, target: Tensor, normalize: bool = True) -> tuple[Tensor, Tensor]:
    """Rank the true view among the views of the same object, for a block of n objects.

    Args:
        predicted: (n, Q, E) predicted embeddings.
        candidates: (n, V, E) embeddings of all views.
        target: (n, Q) or (Q,) index of the true view of each query.
        normalize: rank by cosine, as published; False ranks by dot product.

    Returns:
        Two (n, Q) int64 on the CPU: how many candidates score above the true one, and how many tie with it, itself
        included.

    Raises:
        ValueError: for shapes that do not fit, target indices out of range, or scores that are not finite.
    """
    shapes = ", ".join(str(tuple(x.shape)) for x in (predicted, candidates, target))
    fits = predicted.ndim == candidates.ndim == 3 and target.shape in (predicted.shape[:2], predicted.shape[1:2])
    if not fits or (len(predicted), predicted.shape[2]) != (len(candidates), candidates.shape[2]):
        raise ValueError(f"expected predicted (n, Q, E), candidates (n, V, E) and target (n, Q) or (Q,), got {shapes}")
    _check_target(target, candidates.shape[1])
    predicted, candidates = predicted.float(), _scaled(candidates, normalize)
    lead = predicted @ candidates.mT
    check_scores(lead)
    lead -= lead.gather(2, target.to(lead.device).expand(lead.shape[:2])[..., None])
    limit = tie_tolerance(predicted, candidates.norm(dim=2).amax(1)[:, None])[..., None]
    return (lead > limit).sum(2).cpu(), (lead.abs() <= limit).sum(2).cpu()


def tie_tolerance(queries: Tensor, reach: Tensor) -> Tensor:
    """Difference up to which two scores of a query tie: what rounding can make of two equal ones.

    A float32 sum of E products is off by about √E·u·‖query‖·‖candidate‖, u = eps / 2, in whichever order it is taken
    (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SISC 2019), and the norm by which a
    candidate is divided by half as much. Two scores together differ by up to 1.5 √E·eps of the norms; the bound of
    2 √E·eps leaves as much again as one score may be off for the rounding of the embeddings themselves.

    Args:
        queries: (…, E) float32.
        reach: (…) the largest norm among the candidates, divided as they are.

    Returns:
        (…), 8e-6 of the norms at E = 1024: no two cosines closer than that can be told apart.
    """
    eps = torch.finfo(torch.float32).eps
    return 2 * math.sqrt(queries.shape[-1]) * eps * queries.norm(dim=-1) * reach


def mean_reciprocal_rank(above: Tensor, tied: Tensor) -> float:
    """Compute the mean of 1 / rank from the counts of :func:`view_ranks`, in float64; ties count their expectation.

    Args:
        above: candidates nearer than the true view, for each query.
        tied: candidates as near as the true view, itself included.
    """
    return float(reciprocal_ranks(above, tied).mean())


def reciprocal_ranks(above: Tensor, tied: Tensor) -> Tensor:
    """Compute the expected 1 / rank of every query, float64: the mean of 1/(g+1) … 1/(g+e).

    Args:
        above: candidates nearer than the true view (g), for each query.
        tied: candidates as near as the true view, itself included (e).

    Example:
        >>> reciprocal_ranks(torch.tensor([0, 2, 0]), torch.tensor([1, 1, 4]))
        tensor([1.0000, 0.3333, 0.5208], dtype=torch.float64)
    """
    _check_counts(above, tied)
    harmonic = _harmonic(int((above + tied).max()))
    return (harmonic[above + tied] - harmonic[above]) / tied


def hit_rate(above: Tensor, tied: Tensor, k: int) -> float:
    """Compute the share of queries whose true view is among the k nearest (H@k), in float64; ties count in part.

    Args:
        above: candidates nearer than the true view, for each query.
        tied: candidates as near as the true view, itself included.
        k: number of nearest candidates.

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


def check_scores(scores: Tensor) -> None:
    """Raise ValueError for scores that are NaN or infinite."""
    if not torch.isfinite(scores).all():
        raise ValueError(f"expected finite scores, got {int((~torch.isfinite(scores)).sum())} NaN or infinite values")


def _check_counts(above: Tensor, tied: Tensor) -> None:
    if above.shape != tied.shape or not above.numel() or int(tied.min()) < 1 or int(above.min()) < 0:
        raise ValueError(
            "expected counts of at least one query, above >= 0 and tied >= 1 (the true view itself), got "
            f"shapes {tuple(above.shape)} and {tuple(tied.shape)}"
        )
