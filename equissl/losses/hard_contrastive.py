"""Hard contrastive loss (Wang and Liu, Understanding the Behaviour of Contrastive Loss, CVPR 2021)."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.nearest import kept_negatives
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, cross_view_negatives, unit_views, view_logits


@full_precision
def hard_contrastive(z: Tensor, temperature: float | Tensor = 0.3, hardest: int | float = 0.0819) -> Tensor:
    """Compute the symmetric cross-view InfoNCE in which each anchor sees only its most similar negatives.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; the mean over all ordered pairs of views.
        temperature: divides the cosine similarities.
        hardest: how many negatives an anchor keeps, or the kept fraction (rounded up) for a float in (0, 1]. The
            choice of the negatives has no gradient.

    Returns:
        Scalar, nondecreasing in ``hardest``; with all B - 1 negatives it is `clip`.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, a number of negatives outside of [1, B - 1] or a fraction outside of
            (0, 1], or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "the hard contrastive loss")
    log_negatives = cross_view_negatives(z, temperature, hardest=kept_negatives(hardest, len(z) - 1))
    return contrast(view_logits(z, temperature)[..., None], log_negatives).mean()
