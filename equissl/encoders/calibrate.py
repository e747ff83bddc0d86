"""Calibration of batch norm statistics, for encoders that are not, or no longer, trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate(encoder: nn.Module, items: Sequence[Tensor] | Tensor, batch_size: int) -> None:
    """Compute the statistics of every batch norm anew: plain means over batches of clouds or images.

    Args:
        encoder: whose batch norms are filled.
        items: clouds (N, 3+) each, or images.
        batch_size: items at a time.
    """
    layers = [module for module in encoder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
    encoder.train()
    for start in range(0, len(items), batch_size):
        encoder(items[start : start + batch_size])
    encoder.eval()
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
