"""Shortcut of a predictor that is linear in the action: an invariant embedding, moved by a constant."""

from __future__ import annotations

import torch
from torch import Tensor


def shortcut_share(actions: Tensor) -> float:
    """Compute the share of the equivariance loss that an invariant embedding leaves: min over c of E (c·z − 1)².

    A predictor W(z)·e = Σ_k z_k A_k e is free to take A_k = c_k·1. Where some constant combination c·z of the action is
    always near 1, that is the identity, and an embedding that never moves is predicted well. 0: an invariant embedding
    costs nothing; 1: no combination explains anything, as for actions of mean 0.

    Args:
        actions: z, (N, A) actions of training pairs.

    Returns:
        1 − E[z]ᵀ (E[z zᵀ])⁺ E[z], between 0 and 1.

    Raises:
        ValueError: for another shape, or no actions.
    """
    if actions.ndim != 2 or not len(actions):
        raise ValueError(f"expected actions of shape (N, A) with N > 0, got {tuple(actions.shape)}")
    z = actions.double()
    mean, second = z.mean(dim=0), z.T @ z / len(z)
    explained = mean @ torch.linalg.pinv(second, hermitian=True, rtol=1e-9) @ mean
    return float((1 - explained).clamp(0, 1))
