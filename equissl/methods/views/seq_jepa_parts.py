"""Networks and small functions of the methods that predict a view's representation from others and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from equissl.losses.precision import full_precision, unit_norm


class Padding(nn.Module):
    """Actions as they are, with zeros behind: what the published code does in place of a projector.

    Args:
        dim: size of an action.
        size: of what comes out, at least ``dim``.
    """

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.more = size - dim

    def forward(self, actions: Tensor) -> Tensor:
        return F.pad(actions, (0, self.more))


def prediction_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Create the predictor of a representation: an MLP of one hidden layer with batch norm.

    Args:
        inputs: width of the input.
        hidden: width of the hidden layer; 0 leaves it out, and norms the output.
        outputs: width of the output.
    """
    if not hidden:
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


@full_precision
def cosine_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute ``1 − cos``, averaged over B; no gradient reaches the target.

    Args:
        predicted: (B, D).
        target: (B, D).
    """
    return 1 - (unit_norm(predicted) * unit_norm(target.detach())).sum(dim=1).mean()


def merge_views(images: Tensor) -> Tensor:
    """(B, M, 3, H, W) as (B · M, 3, H, W), in the memory layout that each image has."""
    if images.stride(2) != 1:
        return images.flatten(0, 1)
    return images.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)  # channels last, as stores give them


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let batch norm take no note of what passes in training."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
