"""Multi-view InfoNCE: one term per instance with all of its views (Koromilas et al., 2025)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import (
    check_temperature,
    cross_view_negatives,
    instance_negatives,
    unit_views,
    view_logits,
)


@full_precision
def mv_info_nce(
    z: Tensor, temperature: float | Tensor = 0.5, negatives: Literal["all", "cross_view"] = "all"
) -> Tensor:
    """Compute the log-sum-exp over all logits of an instance's views against that over its positive pairs.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.
        negatives: ``"all"`` views of the other instances, as in the authors' code, or only views of another slot
            (``"cross_view"``), as in their formula.

    Returns:
        Scalar, above 0. Collapse costs log((VB - 1) / (V - 1)), or log B with cross-view negatives.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, unknown negatives, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "MV-InfoNCE")
    if negatives == "all":
        log_negatives = instance_negatives(z, temperature)
    elif negatives == "cross_view":
        log_negatives = cross_view_negatives(z, temperature).flatten(1)
    else:
        raise ValueError(f"expected negatives to be 'all' or 'cross_view', got {negatives!r}")
    return contrast(view_logits(z, temperature).flatten(1), log_negatives.logsumexp(dim=1), pool=True).mean()
