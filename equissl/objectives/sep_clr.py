"""SepCLR as an objective of embeddings, with its salient dimensions and background classes."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.losses.sep_clr import SepCLRWeights, sep_clr_terms
from equissl.objectives.base import Embedded, Need, Objective


class SepCLR(Objective):
    """Contrast in which the first dimensions hold what all classes share, the others what only target classes have.

    Args:
        dim: width of the embeddings.
        background: classes of the background set; all others are targets.
        salient_dim: width of the salient part, the last dimensions; None is half of them (rounded down).
        temperature: potentials are ``exp(-distance² / (2 temperature))``.
        salient: weight of the salient part's terms.
        information_less: weight of the salient part's length on background samples.
        joint_entropy: weight of the term that keeps the parts independent.

    Raises:
        ValueError: for no background class, or a salient part that is empty or leaves no common one.
    """

    background: Tensor
    needs: frozenset[Need] = frozenset({"labels"})

    def __init__(
        self,
        dim: int,
        background: list[int],
        salient_dim: int | None = None,
        temperature: float = 0.5,
        salient: float = 100.0,
        information_less: float = 100.0,
        joint_entropy: float = 10.0,
    ) -> None:
        super().__init__()
        width = dim // 2 if salient_dim is None else salient_dim
        if not 0 < width < dim:
            raise ValueError(f"expected a salient part of 1 to {dim - 1} of {dim} dimensions, got {width}")
        if not background:
            raise ValueError("expected at least one background class, got an empty list")
        self.register_buffer("background", torch.tensor(sorted(set(background))), persistent=False)
        self.widths, self.temperature = (dim - width, width), temperature
        self.weights = SepCLRWeights(salient, information_less, joint_entropy)

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        if batch.labels is None:
            raise ValueError("SepCLR needs the classes of the samples, got labels None")
        common, salient = batch.z.split(self.widths, dim=2)
        target = ~torch.isin(batch.labels, self.background)
        terms = sep_clr_terms(common, salient, target, self.temperature)
        return self.weights.total(terms), {name: term.detach() for name, term in terms.items()}

    def extra_repr(self) -> str:
        return f"common={self.widths[0]}, salient={self.widths[1]}, background={self.background.tolist()}"
