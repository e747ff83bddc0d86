"""A momentum teacher of some of a method's networks."""

from __future__ import annotations

from torch import nn

from equissl.losses import cosine_momentum, ema_update, make_teacher


class Teacher(nn.Module):
    """Moving averages of networks, by the name they have in the method.

    Args:
        momentum: at the first and at the last step; in between it follows half a cosine.
        **networks: what to average.

    Attributes:
        own_buffers: keep the statistics of batch norm that the teacher's own inputs have, instead of the networks'.
    """

    own_buffers: bool = False

    def __init__(self, momentum: tuple[float, float], **networks: nn.Module) -> None:
        super().__init__()
        start, end = momentum
        if not 0 <= start <= 1 or not 0 <= end <= 1:
            raise ValueError(f"expected momenta in [0, 1] for the first and the last step, got {list(momentum)}")
        self.momentum = momentum
        self.networks = nn.ModuleDict({name: make_teacher(network) for name, network in networks.items()})

    def __getitem__(self, name: str) -> nn.Module:
        return self.networks[name]

    def update(self, step: int, last_step: int, **networks: nn.Module) -> float:
        """Move the teachers towards the networks, after an optimiser step.

        Args:
            step: number of the step, from 0.
            last_step: last step of the run.
            **networks: those to follow, by name.

        Returns:
            the momentum of this step.
        """
        momentum = cosine_momentum(step, last_step, *self.momentum)
        for name, network in networks.items():
            ema_update(self.networks[name], network, momentum, copy_buffers=not self.own_buffers)
        return momentum
