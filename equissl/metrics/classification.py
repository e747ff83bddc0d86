"""Classification accuracy."""

from __future__ import annotations

from torch import Tensor


def top_k_accuracy(logits: Tensor, target: Tensor, k: int = 1) -> float:
    """Compute the share of samples whose class is among the k highest scores.

    Ties are shared out instead of broken by class order: among e classes that tie for the last free places, the true
    one counts by its chance of getting one. So a classifier whose scores are all equal has chance level, k / C.

    Args:
        logits: (N, C) scores.
        target: (N,) class indices.
        k: number of guesses, 1 to C.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: for wrong shapes, k out of range, class indices out of range, or NaN scores.

    Example:
        >>> import torch
        >>> top_k_accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        0.5
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1] or len(logits) == 0:
        raise ValueError(
            f"expected logits of shape (N, C) and target of shape (N,) with N >= 1, got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}"
        )
    classes = logits.shape[1]
    if not 1 <= k <= classes:
        raise ValueError(f"expected k between 1 and the number of classes {classes}, got {k}")
    if target.is_floating_point() or target.min() < 0 or target.max() >= classes:
        raise ValueError(
            f"expected integer class indices in 0..{classes - 1}, got {target.dtype} in "
            f"{target.min().item()}..{target.max().item()}"
        )
    if logits.isnan().any():
        raise ValueError(f"expected logits without NaN, got {int(logits.isnan().any(dim=1).sum())} bad rows")
    own = logits.gather(1, target[:, None])
    above, tied = (logits > own).sum(dim=1), (logits == own).sum(dim=1)
    return float(((k - above) / tied).clamp(0, 1).double().mean())
