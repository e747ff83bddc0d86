"""Synthetic embeddings: mixtures of rows, and of a query with rows.

What to mix is drawn apart from the mixing, so that a caller may mix in blocks, or by a recipe of its own. Draws are
made on the generator's device, or the one that is named, and moved to the latter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.precision import check_pair, full_precision, unit_norm


@full_precision
def mix_rows(rows: Tensor, indices: Tensor, weights: Tensor, normalize: bool = True, detach: bool = True) -> Tensor:
    """Convex mixtures ``w x_i + (1 - w) x_j`` (Kalantidis et al., MoCHi, NeurIPS 2020; Wu et al., SupReMix, 2023).

    Args:
        rows: (N, D) embeddings.
        indices: (..., 2) positions i and j of the two parts in ``rows``.
        weights: (...) shares w of the first parts, in [0, 1].
        normalize: scale mixtures to unit length, as MoCHi does; SupReMix leaves them as they are.
        detach: no gradient flows to the parts.

    Returns:
        (..., D). Opposite rows mixed half and half have no direction: normalised they give zeros.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if rows.ndim != 2 or indices.shape != (*weights.shape, 2):
        raise ValueError(
            f"expected rows (N, D) and indices (..., 2) with weights (...), got {tuple(rows.shape)}, "
            f"{tuple(indices.shape)} and {tuple(weights.shape)}"
        )
    first, second = (rows.detach() if detach else rows)[indices].unbind(-2)
    return _mix(first, second, weights, normalize)


@full_precision
def mix_with_queries(
    queries: Tensor, rows: Tensor, indices: Tensor, weights: Tensor, normalize: bool = True, detach: bool = True
) -> Tensor:
    """Mix ``w q + (1 - w) x_j``: each query with rows of its own (MoCHi's hardest negatives).

    Args:
        queries: (B, D) embeddings.
        rows: (N, D) embeddings.
        indices: (B, S) positions j in ``rows``.
        weights: (B, S) shares w of the query; below 0.5 the mixture stays more of a negative than of the query.
        normalize: scale mixtures to unit length.
        detach: no gradient flows to the parts, so that only the comparison with the mixture moves the query.

    Returns:
        (B, S, D).

    Raises:
        ValueError: for shapes that do not fit.
    """
    fits = queries.ndim == rows.ndim == indices.ndim == 2 and queries.shape[1] == rows.shape[1]
    if not fits or indices.shape != weights.shape or len(indices) != len(queries):
        raise ValueError(
            "expected queries (B, D), rows (N, D), indices and weights (B, S), got "
            + ", ".join(str(tuple(x.shape)) for x in (queries, rows, indices, weights))
        )
    if detach:
        queries, rows = queries.detach(), rows.detach()
    return _mix(queries[:, None], rows[indices], weights, normalize)


@full_precision
def extrapolate(rows: Tensor, others: Tensor, share: float) -> Tensor:
    """Compute ``(1 + r) x - r y``: rows moved away from others (Wu et al., Hallucinator, 2023).

    Args:
        rows: (..., D) rows x.
        others: (..., D) rows y.
        share: r, from 0, which leaves the rows as they are.

    Raises:
        ValueError: for shapes that differ.
    """
    check_pair("rows", rows, "others", others)
    return rows + share * (rows - others)


def _mix(first: Tensor, second: Tensor, weights: Tensor, normalize: bool) -> Tensor:
    share = weights[..., None].to(second.dtype)
    mixed = torch.lerp(second, first, share)
    return unit_norm(mixed) if normalize else mixed


def label_matched_weights(target: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Compute the share of the lower part with which a mixture has exactly the target's label (SupReMix).

    Args:
        target: (...) labels y_i to match.
        lower: (...) labels y_j of the first parts, not above the targets.
        upper: (...) labels y_k of the second parts, not below the targets.

    Returns:
        (...) ``(y_k - y_i) / (y_k - y_j)`` in [0, 1]; NaN where the target does not lie between two different labels,
        which no convex mixture can match.
    """
    if not torch.is_floating_point(upper - target):
        target, lower, upper = target.float(), lower.float(), upper.float()
    between = (lower <= target) & (target <= upper) & (lower < upper)
    gap = torch.where(between, upper - lower, torch.ones_like(upper))
    return torch.where(between, (upper - target) / gap, torch.full_like(gap, float("nan")))


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)


def _positions(
    high: int, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str
) -> Tensor:
    source = device if generator is None else generator.device
    return torch.randint(high, shape, generator=generator, device=source).to(device)


def draw_shares(
    shape: tuple[int, ...],
    concentration: float = 1.0,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw shares from Beta(a, a), as mixup does (Zhang et al., ICLR 2018).

    Args:
        shape: of the result.
        concentration: a, above 0; 1 is uniform, less favours shares near 0 and 1.
        generator: source of the draws.
        device: device of the result.

    Returns:
        shares in [0, 1].

    Raises:
        ValueError: for a concentration that is not positive.
    """
    if not concentration > 0:
        raise ValueError(f"expected a concentration above 0, got {concentration}")
    source = device if generator is None else generator.device
    # torch.distributions takes no generator; in float64 a small concentration does not end in 0 / 0
    wanted = torch.full((2, *shape), concentration, dtype=torch.float64, device=source)
    first, second = torch._standard_gamma(wanted, generator=generator)
    return (first / (first + second)).float().to(device)


def draw_pairs(
    queries: int,
    mixtures: int,
    rows: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw two different rows and a weight for each mixture of each query.

    Args:
        queries: number of queries B; each gets pairs of its own.
        mixtures: mixtures S of a query.
        rows: number of rows N to choose from, at least 2.
        generator: source of the choice.
        device: device of the results.

    Returns:
        indices (B, S, 2) in [0, N), and weights (B, S), uniform in [0, 1).

    Raises:
        ValueError: for fewer than 2 rows.
    """
    if rows < 2:
        raise ValueError(f"mixing two different rows needs at least 2 of them, got {rows}")
    first = _positions(rows, (queries, mixtures), generator, device)
    second = (first + 1 + _positions(rows - 1, (queries, mixtures), generator, device)) % rows
    return torch.stack((first, second), dim=-1), _uniform((queries, mixtures), generator, device)


def draw_partners(
    queries: int,
    mixtures: int,
    rows: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw a row and a query's share for each mixture of each query.

    Args: as `draw_pairs`; one row is enough.

    Returns:
        indices (B, S) in [0, N), and the query's shares (B, S), uniform in [0, 0.5).

    Raises:
        ValueError: for no rows.
    """
    if rows < 1:
        raise ValueError(f"mixing with a row needs at least 1 of them, got {rows}")
    indices = _positions(rows, (queries, mixtures), generator, device)
    return indices, _uniform((queries, mixtures), generator, device) / 2
