"""Group ordering constraints: positives should sort above negatives (Shvetsova et al., GroCo, ICCV 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.nearest import kept_negatives, nearest
from equissl.losses.precision import full_precision
from equissl.losses.similarity import unit_views
from equissl.losses.soft_sort import Network, Swap, rank_mass


@full_precision
def groco(
    z: Tensor,
    steepness: float | Tensor = 1.0,
    hardest: int | float = 10,
    positives: int | None = None,
    stop_gradient: bool = True,
    network: Network = "odd_even",
    swap: Swap = "cauchy",
) -> Tensor:
    """Order the cosines of each anchor softly and ask that its positives take the upper ranks.

    Every view is an anchor; its positives are the other views of its instance, its negatives the same view of the
    other instances. There is no temperature: the steepness of the sort plays its part.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        steepness: multiplies differences of cosines.
        hardest: how many negatives an anchor is compared with, the most similar ones, or the fraction of the B - 1
            (rounded up) for a float in (0, 1]. The choice has no gradient.
        positives: only the first so many views are positives, the others (small crops) only anchors; all by default.
        stop_gradient: only the anchor of each comparison learns, as in the paper. The value is the same.
        network: sorting network.
        swap: how a pair of cosines is mixed; Cauchy swaps never bring the loss to 0.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, a number of negatives outside of [1, B - 1] or a fraction outside of
            (0, 1], positives outside of [2, V], or a steepness that is not positive.
    """
    z = unit_views(z, "GroCo")
    keys = z.detach() if stop_gradient else z
    batch, views, _ = z.shape
    kept = kept_negatives(hardest, batch - 1)
    pairs = zip(z.unbind(1), keys.unbind(1), strict=True)
    negatives = torch.stack([nearest(anchor, key, kept, tables=views) for anchor, key in pairs], dim=1)
    count = views if positives is None else positives
    near = _positives(z, keys, count)
    losses = [
        group_ordering(part, cosines, steepness, network, swap)
        for part, cosines in zip(negatives.split((count, views - count), dim=1), near, strict=True)
    ]
    return torch.cat(losses, dim=1).mean()


@full_precision
def group_ordering(
    negatives: Tensor,
    positives: Tensor,
    steepness: float | Tensor = 1.0,
    network: Network = "odd_even",
    swap: Swap = "cauchy",
) -> Tensor:
    """Mean cross-entropy of each item's group against the group of ranks that the soft sort gives it.

    Args:
        negatives: (..., K) similarities that should come out lower.
        positives: (..., P) similarities that should come out higher. The order within either does not matter.
        steepness: multiplies differences of similarities.
        network: sorting network.
        swap: how a pair of similarities is mixed.

    Returns:
        (...) losses. For one of each, n and p, this is ``-log(1/2 + arctan(steepness (p - n)) / pi)`` with Cauchy
        swaps. The logarithm stops at the smallest normal number, where logistic swaps underflow.

    Raises:
        ValueError: for an empty group, other shapes, or options that `soft_sort` does not know.
    """
    if negatives.shape[:-1] != positives.shape[:-1] or 0 in (negatives.shape[-1], positives.shape[-1]):
        raise ValueError(
            f"expected negatives (..., K) and positives (..., P) with K, P >= 1, got {tuple(negatives.shape)} and "
            f"{tuple(positives.shape)}"
        )
    items = torch.cat((negatives.sort(dim=-1).values, positives.sort(dim=-1).values), dim=-1)
    upper = torch.arange(items.shape[-1], device=items.device) >= negatives.shape[-1]
    low, high = rank_mass(items, torch.stack((~upper, upper)), steepness, network, swap).unbind(dim=-2)
    right = torch.where(upper, high, low)
    return -right.clamp(torch.finfo(right.dtype).tiny, 1).log().mean(dim=-1)


def _positives(z: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosines (B, P, P - 1) of the first P views with each other, and (B, V - P, P) of the others with them."""
    if not 2 <= count <= z.shape[1]:
        raise ValueError(f"expected between 2 and {z.shape[1]} views (all of them) as positives, got {count}")
    table = z @ keys[:, :count].mT
    anchors, others = torch.arange(count, device=z.device)[:, None], torch.arange(count - 1, device=z.device)
    others = (others + (others >= anchors)).expand(len(z), -1, -1)
    return table[:, :count].gather(2, others), table[:, count:]
