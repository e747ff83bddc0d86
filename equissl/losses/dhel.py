"""Decoupled hyperspherical energy losses: for pairs (Koromilas et al., ICML 2024) and any number of views (2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.contrastive import contrast
from equissl.losses.precision import full_precision
from equissl.losses.similarity import check_temperature, same_view_negatives, unit_views


def _pair_logits(z: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, P) of the unordered pairs of views of an instance, and the positions (P,) of both views."""
    first, second = torch.triu_indices(z.shape[1], z.shape[1], 1, device=z.device)
    return (z @ (z / temperature).mT)[:, first, second], first, second


@full_precision
def dhel(z: Tensor, temperature: float | Tensor = 0.3, both: bool = True) -> Tensor:
    """Compute the alignment across the views and the uniformity inside each view: no logit serves both.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2; V > 2 averages over the pairs of views.
        temperature: divides the cosine similarities.
        both: count the energy of both views of a pair, or only of the first.

    Returns:
        Scalar, often negative; ``1 / temperature + 2 log(B - 1)`` for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "DHEL")
    positives, first, second = _pair_logits(z, temperature)
    energy = same_view_negatives(z, temperature)
    energies = energy[:, first] + energy[:, second] if both else energy[:, first]
    return contrast(positives[..., None], energies, "none").mean()


@full_precision
def mv_dhel(z: Tensor, temperature: float | Tensor = 0.5) -> Tensor:
    """DHEL with one term per instance: the views' energies against the log-sum-exp over its pairs of views.

    Energies are added as logarithms; the product of their exponentials overflows float32 from six views on.

    Args:
        z: (B, V, D) embeddings of the global batch, B >= 2, V >= 2.
        temperature: divides the cosine similarities.

    Returns:
        Scalar; ``(V - 1) / temperature + V log(B - 1) - log(V (V - 1) / 2)`` for collapsed embeddings.

    Raises:
        ValueError: for B < 2, V < 2, other shapes, or a temperature that is not positive.
    """
    check_temperature(temperature)
    z = unit_views(z, "MV-DHEL")
    positives, _, _ = _pair_logits(z, temperature)
    return contrast(positives, same_view_negatives(z, temperature).sum(dim=1), "none", pool=True).mean()
