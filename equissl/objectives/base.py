"""Base class of invariant objectives: a loss of the embeddings of a batch, and its state, if any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from equissl.losses.precision import full_precision, unit_norm
from equissl.objectives.draws import Draws

Need = Literal["teacher", "labels", "samples", "group_ids", "rotations", "hues", "source"]


@dataclass(frozen=True)
class Embedded:
    """Global batch for objectives; all but ``z`` only where the objective asks for it in `Objective.needs`.

    Attributes:
        z: (B, V, D) embeddings of V views of B instances, as the projector gives them, with gradient.
        teacher: (B, V, D) embeddings of the momentum teacher, without gradient.
        labels: (B,) classes.
        samples: (B,) positions of the instances in the dataset.
        group_ids: (B,) group of each instance, in which alone its negatives are.
        rotations: (B, V, 3, 3) rotation of each view.
        hues: (B, V, C) hue angles of each view in radians.
        source: (B, E) for equivariance: what the first of two "views" in ``z`` was predicted from.
    """

    z: Tensor
    teacher: Tensor | None = None
    labels: Tensor | None = None
    samples: Tensor | None = None
    group_ids: Tensor | None = None
    rotations: Tensor | None = None
    hues: Tensor | None = None
    source: Tensor | None = None

    def require(self, need: Need) -> Tensor:
        """Return the field of that name.

        Raises:
            ValueError: where it was not given.
        """
        value = getattr(self, need)
        if value is None:
            raise ValueError(f"the objective needs {need}, which it was not given")
        return value


class Objective(Draws, ABC):
    """A loss of embeddings with its parameters, queues and other state, which its state dict holds.

    State moves while ``training`` is set, after the loss has been computed. Every process sees the same global batch
    and so computes the same loss and the same state; random choices come from `generator` for that reason.

    Attributes:
        needs: fields of `Embedded` beyond ``z`` that `forward` reads.
        fewest_views, most_views: how many views it is defined for; ``None`` is any number.
        for_predictions: whether it compares predictions with targets, and would be met by a constant without them.
        momentum: of the teacher, at the first and at the last step, for objectives that need one.
        wraps: name of the objective that it works on, or None.
    """

    needs: frozenset[Need] = frozenset()
    fewest_views: int = 2
    most_views: int | None = None
    for_predictions: bool = False
    wraps: str | None = None
    sees_global_batch = True  # so batch norm in a predictor needs no other process' statistics
    momentum: tuple[float, float] = (0.996, 1.0)

    @abstractmethod
    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of the global batch (scalar), and its detached terms by name for the log."""

    def check_views(self, name: str, views: int, small_crops: int = 0) -> None:
        """Raise ValueError unless the objective, called ``name``, is defined for so many views and small crops.

        Args:
            name: of the objective, for the error.
            views: number of full views of a sample.
            small_crops: number of small crops of a sample.
        """
        seen = views + small_crops
        if views < 1 or small_crops < 0 or seen < self.fewest_views or (self.most_views or seen) < seen:
            wanted = (
                f"at least {self.fewest_views}"
                if self.most_views is None
                else f"{self.fewest_views}..{self.most_views}"
            )
            crops = f" and {small_crops} small crops" if small_crops else ""
            raise ValueError(f"objective {name!r} takes {wanted} views, got {views}{crops}")

    @full_precision
    def prediction_error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Compute how far predictions are from targets, as the objective sees it: ``2 - 2 cos``, mean of the batch.

        Objectives that mind lengths replace it.

        Args:
            predicted, target: (B, D).
        """
        return 2 - 2 * (unit_norm(predicted) * unit_norm(target)).sum(dim=1).mean()

    def class_relations(self) -> Tensor | None:
        """Compute how much each pair of classes shares, (C, C) in [0, 1]; None where the objective does not say."""
        return None

    def after_step(self) -> None:
        """Update the state after an optimiser step."""
