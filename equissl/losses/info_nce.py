"""InfoNCE over two views (NT-Xent; Chen et al., SimCLR, ICML 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.nt_xent import nt_xent
from equissl.losses.precision import check_batch, check_pair, full_precision


@full_precision
def info_nce(x: Tensor, y: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    """Mean cross-entropy of picking each row's other view among the 2B - 1 other rows, by cosine similarity.

    Args:
        x: (B, D) embeddings of the global batch, first view.
        y: (B, D) embeddings of the second view.
        temperature: divides the cosine similarities.

    Returns:
        Scalar in (0, ln(2B - 1) + 2 / temperature); ln(2B - 1) means that all embeddings are equal (collapse, or
        chance).

    Raises:
        ValueError: for a batch of one, which has no negatives, or a temperature that is not positive.
    """
    check_pair("x", x, "y", y, ndim=2)
    check_batch(x, "InfoNCE")
    return nt_xent(torch.stack((x, y), dim=1), temperature)
