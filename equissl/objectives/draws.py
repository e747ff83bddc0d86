"""Random numbers that are the same in every process and in every rerun."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Draws(nn.Module):
    """Count of the calls that have drawn, which the state dict holds and from which each call's numbers follow."""

    draws: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))

    def generator(self) -> torch.Generator:
        """Create a source of random numbers (CPU), equal in every process and rerun; another at each training call."""
        source = torch.Generator().manual_seed(int(self.draws))
        if self.training:
            self.draws += 1
        return source
