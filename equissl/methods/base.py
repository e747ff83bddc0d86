"""Interface of methods, and what those on every kind of data share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from equissl.losses import gather
from equissl.objectives import Objective


class BuildsEncoder(Protocol):
    """Config of an encoder, of images or of anything else."""

    def build(self) -> Any:
        """Create the encoder with fresh weights; it has a ``feature_dim``."""


@dataclass
class StepOutput:
    """Result of one training step.

    Attributes:
        loss: scalar to minimise, of the global batch.
        terms: unweighted, detached scalars by name.
        features: (B, V, D) detached representation of this process' batch, for online probes and diagnostics.
        action_gap: for methods that predict: ``equivariance``, and ``equivariance_ignored_action``, the same loss when
            every sample gets its neighbour's action, both of this process' batch. Equal: the action is ignored.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    features: Tensor
    action_gap: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Phase:
    """One of the updates that training makes of a batch.

    Attributes:
        step: name of the method's function from a batch to a `StepOutput`, whose loss the update lowers.
        parts: names of the method's modules whose parameters it moves; empty moves all. The others may be in the
            graph of the loss: the gradients that they get are thrown away.
    """

    step: str = "step"
    parts: tuple[str, ...] = ()


class Method(nn.Module, ABC):
    """An encoder, what is trained on top of it, and the loss.

    Attributes:
        kind: name of the kind of data that the method was written for; it can be trained on any kind whose batches are
            a ``batch``.
        batch: type of the batches that ``step`` takes.
        feature_dim: size D of the representation.
        views: views, or sweeps, of each item of a batch.
        objective: objective of the embedding, for methods that take one by name.
        phases: updates of each batch in their order; several train parts of the method in turn (docs/training.md).
        learns_from_queries: True where an item is an answered similarity query: the first two of its three views are
            alike, the third is the odd one out.
        track_action_gap: True where ``step`` is to return the action gap too, which costs one more pass of the
            predictor.
    """

    kind: ClassVar[str]
    batch: ClassVar[type]
    encoder: Any
    feature_dim: int
    views: int = 2
    phases: tuple[Phase, ...] = (Phase(),)
    learns_from_queries: bool = False
    track_action_gap: bool = True

    def __init__(self, encoder: BuildsEncoder) -> None:
        super().__init__()
        self.encoder = encoder.build()
        self.feature_dim = self.encoder.feature_dim
        self.objective: Objective | None = None

    @property
    def frozen_parts(self) -> dict[str, str | None]:
        """Return the submodules whose weights are another run's whole method, with that run's folder.

        They are filled before the first step of a fresh run; later their weights come from its own checkpoints. None
        stands for a folder that still has to be named.
        """
        return {}

    @property
    def label(self) -> str:
        """Name in tables: what the literature calls the method with these options."""
        return type(self).__name__

    @property
    def reads_labels(self) -> bool:
        """True where the objective reads class labels."""
        return self.objective is not None and "labels" in self.objective.needs

    @abstractmethod
    def step(self, batch: Any) -> StepOutput:
        """Compute loss, diagnostics and representation of one batch."""

    def after_step(self, step: int, last_step: int) -> None:
        """Move teachers, queues and schedules after an optimiser step.

        Args:
            step: its number, from 0.
            last_step: number of steps of the whole run.
        """
        if self.objective is not None:
            self.objective.after_step()

    @abstractmethod
    def features(self, inputs: Any) -> dict[str, Tensor]:
        """Compute the parts of the representation that are evaluated.

        Args:
            inputs: N images, clouds or videos.

        Returns:
            ``all`` (N, D); methods that split it add ``inv`` and ``equi``.
        """


def widen(x: Tensor) -> Tensor:
    """Convert half precision to float32; return anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gather_together(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """Gather each (B, D_i) over processes to the global batch, in one exchange and in full precision."""
    wide = [widen(x) for x in embeddings]
    return gather(torch.cat(wide, dim=1)).split([x.shape[1] for x in wide], dim=1)


def detach_terms(**terms: Tensor) -> dict[str, Tensor]:
    """Detach the loss terms for the log."""
    return {name: term.detach() for name, term in terms.items()}


def stack_features(views: list[Tensor]) -> Tensor:
    """Stack the representations of the views to (B, V, D), detached and in full precision."""
    return widen(torch.stack([view.detach() for view in views], dim=1))
