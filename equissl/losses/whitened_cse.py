"""WhitenedCSE: differently whitened copies of an instance as its positives (Zhuo et al., ACL 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, log_sum, unit_views
from equissl.losses.whitening import WhiteningMethod, draw_permutations, group_whiten


@full_precision
def whitened_copies(
    z: Tensor,
    copies: int = 1,
    groups: int | None = None,
    method: WhiteningMethod = "eigh",
    eps: float = 1e-5,
    permutations: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Every view whitened over the batch ``copies`` times, each time with a shuffle of the channels of its own.

    Statistics are those of one view of the whole batch. The authors' code cuts the batch in thirds across instances
    instead, which mixes views.

    Args:
        z: (B, V, D) embeddings of the global batch, not normalised.
        copies: P, how often each view is whitened.
        groups: groups of channels, a divisor of D; None as in `group_whiten`.
        method: kind of whitening, as in `group_whiten`.
        eps: share of the identity in the covariance.
        permutations: (V, P, D) orders of the channels; None draws them.
        generator: source of the shuffles, on the CPU, in one state in all processes.

    Returns:
        (B, V * P, D): the copies of the first view, then those of the second, and so on.

    Raises:
        ValueError: for other shapes, B < 2, copies below 1, and as `group_whiten`.
    """
    if z.ndim != 3 or copies < 1:
        raise ValueError(f"expected embeddings of shape (B, V, D) and copies >= 1, got {tuple(z.shape)} and {copies}")
    _, views, dims = z.shape
    if permutations is None:
        permutations = draw_permutations(views * copies, dims, generator, z.device).view(views, copies, dims)
    if permutations.shape != (views, copies, dims):
        raise ValueError(f"expected permutations ({views}, {copies}, {dims}), got {tuple(permutations.shape)}")
    repeated = z.transpose(0, 1)[:, None].expand(-1, copies, -1, -1)
    return group_whiten(repeated, groups, permutations, method, eps).flatten(0, 1).transpose(0, 1)


@full_precision
def whitened_cse(z: Tensor, temperature: float | Tensor = 0.05) -> Tensor:
    """One anchor per instance against each of its positives, in InfoNCE terms of their own that are summed.

    The first row of an instance is the anchor, all others are its positives, as in the authors' code: term k is the
    cross-entropy of picking one's own row k among the rows k of the batch. Terms share no negatives and are not
    averaged, so that the loss grows with their number. The order of the positives does not matter, the choice of the
    anchor does. The paper also discusses a sum over positives inside the logarithm, which is not this.

    Args:
        z: (B, K, D) rows of the global batch: `whitened_copies`, behind the projection head.
        temperature: divides the cosine similarities.

    Returns:
        Scalar; (K - 1) log B at collapse.

    Raises:
        ValueError: for B < 2, K < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "WhitenedCSE")
    anchor, *positives = z.unbind(1)
    own = torch.arange(len(z), device=z.device)[:, None]
    terms = [
        contrast(
            (anchor * positive).sum(dim=1, keepdim=True) / temperature,
            log_sum(anchor, positive, temperature, own, tables=len(positives)),
        ).mean()
        for positive in positives
    ]
    return torch.stack(terms).sum()
