"""Global batch of embeddings that objectives take, from each process' own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.losses import gather
from equissl.methods.base import gather_together
from equissl.objectives import Embedded, Need, Objective, ObjectiveConfig


def known_inputs(batch: ViewBatch, needs: Iterable[Need]) -> dict[str, Tensor]:
    """Gather what objectives ask for beyond embeddings, of the global batch, by the names of `Embedded`.

    Args:
        batch: batch of this process.
        needs: names of fields of `Embedded`.

    Raises:
        ValueError: where the batch lacks something.
    """
    return {need: gather(_read(need, batch)) for need in sorted(needs) if need in _READERS}


def embed_together(
    views: Sequence[Tensor], batch: ViewBatch, needs: Iterable[Need] = (), teacher: Sequence[Tensor] = ()
) -> Embedded:
    """Gather the global batch of embeddings and of what else the objective asks for.

    Args:
        views: (B, E) for each view, of this process.
        batch: where they come from.
        needs: the objective's.
        teacher: (B, E) for each view that the teacher saw.

    Raises:
        ValueError: where the batch lacks something.
    """
    together = gather_together(*views, *teacher)
    known = known_inputs(batch, needs)
    if teacher:
        known["teacher"] = torch.stack(together[len(views) :], dim=1)
    return Embedded(torch.stack(together[: len(views)], dim=1), **known)


def plain_objective(config: ObjectiveConfig, dim: int, views: int = 2) -> Objective:
    """Build the objective of a config, for a method that has neither a teacher nor predictions to offer it.

    Args:
        config: name and options.
        dim: width of the embeddings.
        views: views of each object.

    Raises:
        ValueError: for an objective that needs one of the two, an unknown one, or a wrong number of views.
    """
    objective = config.build(dim)
    objective.check_views(config.name, views)
    if objective.for_predictions or "teacher" in objective.needs:
        raise ValueError(f"expected an objective without predictions or teacher, got {config.name!r}")
    return objective


def pair_loss(objective: Objective | None, x: Tensor, y: Tensor, batch: ViewBatch) -> Tensor | None:
    """Compute the objective's loss of the global embeddings of two views; None without an objective.

    Args:
        objective: or None.
        x: (B, E) first view.
        y: (B, E) second view.
        batch: batch of this process.
    """
    if objective is None:
        return None
    return objective(Embedded(torch.stack([x, y], dim=1), **known_inputs(batch, objective.needs)))[0]


def _read(need: Need, batch: ViewBatch) -> Tensor:
    value = _READERS[need](batch)
    if value is None:
        raise ValueError(f"the objective needs the {need} of the batch, which does not hold them")
    return value


def _hues(batch: ViewBatch) -> Tensor:
    return batch.latents[:, :, batch.schema.columns("floor_hue", "light_hue")]


_READERS = {
    "labels": lambda batch: batch.labels,
    "samples": lambda batch: batch.objects,
    "group_ids": lambda batch: batch.group_ids,
    "rotations": lambda batch: batch.rotations,
    "hues": _hues,
}
