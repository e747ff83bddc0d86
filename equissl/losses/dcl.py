"""Decoupled contrastive losses (Yeh et al., ECCV 2022)."""

from __future__ import annotations

from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, instance_negatives, unit_views, view_logits


@full_precision
def dcl(z: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    """NT-Xent without positives in the denominator, so that easy positives do not switch the negatives' gradient off.

    The mean over all anchors, so over both directions for two views. With more views, an anchor's negatives are all
    views of the other instances.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.

    Returns:
        Scalar, at least log(V(B - 1)) - 2 / temperature, so often negative; log(V(B - 1)) for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "DCL")
    return contrast(view_logits(z, temperature), instance_negatives(z, temperature), "none").mean()


@full_precision
def dclw(z: Tensor, temperature: float | Tensor = 0.1, sigma: float = 0.5, detach_weights: bool = False) -> Tensor:
    """DCL with positives weighted by ``2 - B softmax_i(cos_i / sigma)``: pairs that already agree count less.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.
        sigma: temperature of the weights, whose mean over the batch is 1.
        detach_weights: no gradient through the weights; the authors' code lets it through. The value is the same.

    Returns:
        Scalar; equal to DCL where all positive pairs have one cosine.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature or sigma that is not positive.
    """
    check_temperature(temperature)
    if not sigma > 0:
        raise ValueError(f"expected a positive sigma, got {sigma}")
    z = unit_views(z, "DCLW")
    weights = 2 - len(z) * view_logits(z, sigma).softmax(dim=0)
    weights = weights.detach() if detach_weights else weights
    return contrast(view_logits(z, temperature), instance_negatives(z, temperature), "none", weights=weights).mean()
