"""Checks and pairs of embeddings of V views, shaped (B, V, D)."""

from __future__ import annotations

import torch
from torch import Tensor


def check_finite(name: str, x: Tensor) -> None:
    """Raise ValueError if ``x`` holds NaN or infinite values; waits for the device.

    Compiled code skips this check, which would split the graph.

    Args:
        name: name of the tensor, for the message.
        x: any tensor.
    """
    if torch.compiler.is_compiling():
        return
    # The sum is one cheap pass; it may overflow for finite values too, so only the slow test decides.
    if not x.detach().sum().isfinite() and not x.isfinite().all():
        raise ValueError(f"expected finite {name}, got {int((~x.isfinite()).sum())} NaN or infinite values")


def check_views(x: Tensor, purpose: str, name: str = "embeddings", min_batch: int = 2) -> None:
    """Raise ValueError unless ``x`` is a floating-point (B, V, D) with B >= ``min_batch``, V >= 2 and D >= 1.

    Args:
        x: embeddings.
        purpose: name of the loss, for the message.
        name: name of the tensor, for the message.
        min_batch: fewest instances B.
    """
    if x.ndim != 3 or x.shape[2] == 0 or not x.is_floating_point():
        raise ValueError(f"expected floating-point {name} of shape (B, V, D), got {x.dtype} {tuple(x.shape)}")
    batch, views, _ = x.shape
    if batch < min_batch:
        raise ValueError(f"{purpose} needs a batch of at least {min_batch} samples, got {batch} ({tuple(x.shape)})")
    if views < 2:
        raise ValueError(f"{purpose} needs at least 2 views, got {views} (shape {tuple(x.shape)})")


def view_pairs(views: int) -> list[tuple[int, int]]:
    """List all unordered pairs of views, the smaller index first."""
    return [(v, w) for v in range(views) for w in range(v + 1, views)]
