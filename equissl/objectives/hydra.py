"""Hydra as an objective: gates of pairs of classes, and the pairs that are drawn."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from equissl.losses.clip import LogitScale
from equissl.losses.gating import GateKind, PairGate
from equissl.losses.hydra import GatedLogits, Pairs, draw_partner_classes, hydra_anchors
from equissl.objectives.base import Embedded, Objective


class Hydra(Objective):
    """Contrast of the first view with the second one, whose positives are of any class, in the gate of both classes.

    The authors' (SimLAP) are the gate and its kinds, the three choices of pairs, both forms of the logits, what is a
    positive and what is excluded, the learned scale and share ``ungated``, and the one direction. Ours: the average is
    over anchors that have a positive, gates see the global batch, the scale has a limit, the layer norm at the end of
    their projector stands in the objective, and `sparsity` takes the mean probability that a gate is open for every
    kind of gate.

    Args:
        dim: width D of the embeddings.
        classes: number of classes.
        pairs: how the class of the positives is drawn, see `equissl.losses.draw_partner_classes`.
        logits: see `equissl.losses.hydra_anchors`.
        temperature: initial inverse of the learned scale.
        ungated: initial share of the cosine without a gate that is subtracted, learned; None leaves it out.
        gate, combine, width, hidden: of `equissl.losses.PairGate`.
        sparsity: weight of the mean openness of the gates.
        norm: layer norm of the embeddings, before their cosines.

    Raises:
        ValueError: for an unknown choice, sizes below 1 or a negative ``sparsity``; in training, where a first label
            lies outside the classes.
    """

    needs = frozenset({"labels"})
    most_views = 2

    def __init__(
        self,
        dim: int,
        classes: int,
        pairs: Pairs = "arbitrary",
        logits: GatedLogits = "product",
        temperature: float = 0.1,
        ungated: float | None = None,
        gate: GateKind = "sigmoid",
        combine: Literal["mean", "product"] = "mean",
        width: int = 512,
        hidden: int = 1024,
        sparsity: float = 0.0,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if pairs not in get_args(Pairs) or logits not in get_args(GatedLogits):
            expected = [*get_args(Pairs)], [*get_args(GatedLogits)]
            raise ValueError(f"expected pairs of {expected[0]} and logits of {expected[1]}, got {pairs!r}, {logits!r}")
        if not sparsity >= 0:
            raise ValueError(f"expected a sparsity of at least 0, got {sparsity}")
        self.gate = PairGate(classes, dim, gate, combine, width, hidden)
        self.temperature = LogitScale(temperature)
        self.ungated = None if ungated is None else nn.Parameter(torch.tensor(float(ungated)))
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.classes, self.pairs, self.logits, self.sparsity = classes, pairs, logits, sparsity
        self._labels_checked = False

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        labels, generator = batch.require("labels"), self.generator()
        self._check_labels(labels)
        partners = draw_partner_classes(labels, self.classes, self.pairs, generator)
        gates, openness = self.gate.draw(labels, partners, generator)
        queries, keys = self.norm(batch.z).unbind(1)
        losses, positives = hydra_anchors(
            queries, keys, labels, partners, gates, self.temperature(), self.logits, self.ungated
        )
        matched = positives > 0
        loss, opened = losses.sum() / matched.sum().clamp(min=1), openness.mean()
        terms = {"hydra": loss, "openness": opened, "anchors_with_positives": matched.to(loss.dtype).mean()}
        return loss + self.sparsity * opened, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def class_relations(self) -> Tensor:
        """Compute the mean openness (C, C) of the gate of each pair of classes: the share of dimensions they share.

        In evaluation mode, where gates have no noise.
        """
        everyone = torch.arange(self.classes, device=self.draws.device)
        rows = [self.gate.draw(one.expand_as(everyone), everyone)[1].mean(dim=1) for one in everyone]
        return torch.stack(rows)

    def _check_labels(self, labels: Tensor) -> None:
        if self._labels_checked:  # once: it makes the device wait
            return
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.classes:
            raise ValueError(f"expected labels in 0..{self.classes - 1} (classes={self.classes}), got {low}..{high}")
        self._labels_checked = True

    def extra_repr(self) -> str:
        return f"pairs={self.pairs}, logits={self.logits}, sparsity={self.sparsity}"
