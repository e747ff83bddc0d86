"""A generated positive in front of an objective of queries: Hallucinator.

Wu et al., "Hallucination Improves the Performance of Unsupervised Visual Representation Learning", ICCV 2023. Theirs
are the extrapolation, its range, the layers, the repeated keys, and the mean over given and generated queries. Ours: a
loss whose rows are queries and keys at once (``nt_xent``) takes the generated embedding in the place of one view after
the other, both views give queries in every method, and the queue gets each key once, where the authors' gets it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equissl.losses.mixing import extrapolate
from equissl.losses.precision import unit_norm
from equissl.objectives.base import Embedded, Objective
from equissl.objectives.create import ObjectiveConfig
from equissl.objectives.queries import QueryObjective

_SIMCLR: Mapping[str, Any] = {"name": "nt_xent"}


class Hallucinator(Objective):
    """Another objective, of the queries and of as many generated ones, which have to find the same keys.

    A query q with the key k gives the query ``MLP(q, (1 + r) q - r k)``: the extrapolation moves away from the key, and
    the layers, which are trained with the encoder and not used after training, bring it back among embeddings. For
    MoCo k is the teacher's embedding of the other view; for BYOL and SimSiam q and k are predictions.

    Args:
        dim: width D of the embeddings.
        objective: ``{name: ..., options: {...}}`` of the objective of queries: ``nt_xent`` (SimCLR), ``moco``,
            ``simsiam``, ``byol``, ``clip``, or any other loss function.
        extrapolation: largest r; one is drawn for each batch, uniform from 0.
        unit_keys: extrapolate from keys of unit length, which those of the authors' MoCo are; queries never are.

    Raises:
        ValueError: for an objective that does not compare queries with keys, or a negative ``extrapolation``.
    """

    most_views = 2

    def __init__(
        self,
        dim: int,
        objective: Mapping[str, Any] = _SIMCLR,
        extrapolation: float = 0.1,
        unit_keys: bool = False,
    ) -> None:
        super().__init__()
        if not extrapolation >= 0:
            raise ValueError(f"expected an extrapolation of at least 0, got {extrapolation}")
        inner = _build(objective, dim)
        self.objective, self.wraps = inner, objective["name"]
        self.needs, self.momentum = inner.needs, inner.momentum
        self.extrapolation, self.unit_keys = extrapolation, unit_keys
        self.mlp = nn.Sequential(
            nn.Linear(2 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        queries = self.objective.queries(batch)
        keys = self.objective.partners(queries, batch)
        given = self.objective.query_loss(queries, batch)
        generated = self.objective.query_loss(self.generate(queries, keys), batch)
        if self.training:
            self.objective.remember(batch)
        terms = {self.objective.term: given.detach(), f"{self.objective.term}_generated": generated.detach()}
        return (given + generated) / 2, terms

    def generate(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Generate a query for each query and its key.

        Args:
            queries: (B, V, D).
            keys: (B, V, D).
        """
        keys = unit_norm(keys) if self.unit_keys else keys
        share = self.extrapolation * float(torch.rand((), generator=self.generator()))
        return self.mlp(torch.cat([queries, extrapolate(queries, keys, share)], dim=-1))

    def prediction_error(self, predicted: Tensor, target: Tensor) -> Tensor:
        return self.objective.prediction_error(predicted, target)

    def after_step(self) -> None:
        self.objective.after_step()

    def extra_repr(self) -> str:
        return f"extrapolation={self.extrapolation}, unit_keys={self.unit_keys}"


def _build(objective: Mapping[str, Any], dim: int) -> QueryObjective:
    unknown = sorted(set(objective) - {"name", "options"})
    if unknown or "name" not in objective:
        raise ValueError(f"expected an objective as {{name: ..., options: {{...}}}}, got {dict(objective)}")
    inner = ObjectiveConfig(objective["name"], dict(objective.get("options") or {})).build(dim)
    if not isinstance(inner, QueryObjective):
        raise ValueError(f"expected an objective that compares queries with keys, got {objective['name']!r}")
    return inner
