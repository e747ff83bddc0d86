"""Any invariant objective beside any predictor: EquiMod, SEN and what lies between them and SIE.

EquiMod: Devillers and Lefort 2022 (arXiv 2211.01244); SEN: Park et al. 2022 (arXiv 2207.00492); split representation:
Garrido et al. 2023 (arXiv 2302.10283).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector, split_sizes
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.methods.base import StepOutput, gather_together, stack_features, widen
from equissl.methods.views.actions import Action
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.embedding import embed_together
from equissl.methods.views.teacher import Teacher
from equissl.objectives import Embedded, Objective, ObjectiveConfig
from equissl.predictors import create_predictor

# Defaults hold no options: a config that names another objective would inherit them.
NT_XENT = ObjectiveConfig("nt_xent")


class Composed(ViewMethod):
    """One objective on invariant embeddings, and one between predicted and true equivariant embeddings.

    Args:
        encoder: image encoder.
        projector: sizes of the projectors' layers; with ``split`` each part gets its share.
        invariant: objective of the invariant embeddings of all views; None leaves the branch out (SEN).
        equivariant: objective of each pair (prediction of the next view's embedding, that embedding).
        equi: weight of the second objective.
        split: whether each branch sees a part of the representation (SIE) or all of it (EquiMod).
        equi_dim: size of the equivariant part of a split representation; None means half.
        predictor: one of :data:`equissl.predictors.PREDICTORS`, or an import path.
        predictor_options: its further arguments.
        action: what the predictor is told, see :class:`equissl.methods.views.actions.Action`.
        sign: which of the two quaternions of a rotation.
        whiten_actions: shift actions to mean 0 and scale them to covariance 1 over the training pairs; the published
            methods do not.
        over_views: divide parameters of augmentations by their norm over the views, as ``action`` says.
        projector_norm: see `norm` of :class:`equissl.encoders.Projector`.
        views: views of each object in a batch; predictions go from each to the next.
        target: whether predictions are compared with the network's own embeddings or with a momentum teacher's
            (conditional BYOL), which lets no gradient through.
        momentum: momentum of the teacher, where one is needed, at the first and at the last step.

    Raises:
        ValueError: for parts that cannot be put together.
    """

    action: Action

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        invariant: ObjectiveConfig | None = NT_XENT,
        equivariant: ObjectiveConfig = NT_XENT,
        equi: float = 1.0,
        split: bool = False,
        equi_dim: int | None = None,
        predictor: str = "hypernetwork",
        predictor_options: dict[str, Any] | None = None,
        action: str = "quaternion",
        sign: QuaternionSign = "canonical",
        whiten_actions: bool = False,
        over_views: bool = False,
        projector_norm: bool = False,
        views: int = 2,
        target: Literal["online", "teacher"] = "online",
        momentum: tuple[float, float] = (0.996, 1.0),
    ) -> None:
        super().__init__(encoder)
        whole = self.feature_dim
        self.split, self.equi_dim = split, _equi_dim(whole, split, equi_dim)
        self.inv_dim = whole - self.equi_dim if split else whole
        self.views, self.action, self.equi = views, Action(action, sign, over_views, whiten_actions), equi
        self.projector_equi = Projector(self.equi_dim, split_sizes(projector, self.equi_dim, whole), projector_norm)
        width = self.projector_equi.out_dim
        self.predictor = create_predictor(predictor, width, self.action.identity, predictor_options)
        self.equivariant = _equivariant_objective(equivariant, width)
        self.invariant: Objective | None = None
        if invariant is not None:
            sizes = split_sizes(projector, self.inv_dim, whole)
            self.projector_inv = Projector(self.inv_dim, sizes, projector_norm)
            self.invariant = _invariant_objective(invariant, self.projector_inv.out_dim, views)
        elif split:
            raise ValueError("a split representation needs an invariant objective for its first part, got None")
        if views < 2:
            raise ValueError(f"predictions go from view to view: expected at least 2 views, got {views}")
        if target not in ("online", "teacher"):
            raise ValueError(f"expected target to be 'online' or 'teacher', got {target!r}")
        self.teach_equi = target == "teacher"
        self.teach_inv = self.invariant is not None and "teacher" in self.invariant.needs
        wanted = self.teach_equi or self.teach_inv
        self.teacher = Teacher(momentum, **self._students()) if wanted else None

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        equi = [self.projector_equi(view[:, -self.equi_dim :]) for view in views]
        taught_inv, taught_equi = self._taught(batch)
        targets = taught_equi or equi
        predicted = self._predictions(equi, self._actions(batch))
        loss, terms = self._equivariance(equi, predicted, targets)
        loss = self.equi * loss
        if self.invariant is not None:
            inv = [self.projector_inv(view[:, : self.inv_dim]) for view in views]
            inv_loss, inv_terms = self.invariant(embed_together(inv, batch, self.invariant.needs, taught_inv))
            loss, terms = loss + inv_loss, {**{f"inv_{name}": term for name, term in inv_terms.items()}, **terms}
        gap = self._action_gap(equi, targets, batch) if self.track_action_gap else None
        return StepOutput(widen(loss), terms, stack_features(views), gap)

    def after_step(self, step: int, last_step: int) -> None:
        self.equivariant.after_step()
        if self.invariant is not None:
            self.invariant.after_step()
        if self.teacher is not None:
            self.teacher.update(step, last_step, **self._students())

    def features(self, images: Tensor) -> dict[str, Tensor]:
        parts = super().features(images)
        if self.split:
            parts["inv"], parts["equi"] = parts["all"].split([self.inv_dim, self.equi_dim], dim=1)
        return parts

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector_equi(parts["all"][:, -self.equi_dim :])

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        return self.predictor(embedding, self.action(batch).to(embedding.dtype))

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor]:
        equi = [self.projector_equi(view[:, -self.equi_dim :]) for view in self.view_features(batch)]
        return self._action_gap(equi, self._taught(batch)[1] or equi, batch)

    def _actions(self, batch: ViewBatch) -> list[Tensor]:
        """(B, A) action from each view to the next."""
        dtype = next(self.parameters()).dtype
        return [self.action(batch, view, view + 1).to(dtype) for view in range(self.views - 1)]

    def _predictions(self, equi: list[Tensor], actions: list[Tensor]) -> list[Tensor]:
        return [self.predictor(source, action) for source, action in zip(equi, actions, strict=False)]

    def _equivariance(
        self, equi: list[Tensor], predicted: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over steps from view to view of the loss of the global batch; the terms are the first step's."""
        moves = list(zip(equi, predicted, targets[1:], strict=False))
        results = []
        for source, prediction, target in moves:
            x, p, y = gather_together(source, prediction, target)
            results.append(self.equivariant(Embedded(torch.stack([p, y], dim=1), source=x)))
        losses, terms = zip(*results, strict=True)
        return torch.stack(losses).mean(), terms[0]

    @torch.no_grad()
    def _taught(self, batch: ViewBatch) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's invariant and equivariant embeddings of every view; empty where they are not needed."""
        if self.teacher is None:
            return [], []
        encoder = self.teacher["encoder"]
        views = [encoder(self.normalise(batch.images[:, view])) for view in range(self.views)]
        inv = [self.teacher["projector_inv"](v[:, : self.inv_dim]) for v in views] if self.teach_inv else []
        equi = [self.teacher["projector_equi"](v[:, -self.equi_dim :]) for v in views] if self.teach_equi else []
        return inv, equi

    def _students(self) -> dict[str, nn.Module]:
        students: dict[str, nn.Module] = {"encoder": self.encoder}
        if self.teach_inv:
            students["projector_inv"] = self.projector_inv
        if self.teach_equi:
            students["projector_equi"] = self.projector_equi
        return students

    @torch.no_grad()
    def _action_gap(self, equi: list[Tensor], targets: list[Tensor], batch: ViewBatch) -> dict[str, Tensor]:
        action, error = self._actions(batch)[0], self.equivariant.prediction_error
        return {
            "equivariance": error(self.predictor(equi[0], action), targets[1]),
            "equivariance_ignored_action": error(self.predictor(equi[0], action.roll(1, dims=0)), targets[1]),
        }


def _equi_dim(whole: int, split: bool, equi_dim: int | None) -> int:
    if not split:
        if equi_dim is not None:
            raise ValueError(f"equi_dim belongs to a split representation: got {equi_dim} with split=False")
        return whole
    size = whole // 2 if equi_dim is None else equi_dim
    if not 0 < size < whole:
        raise ValueError(f"expected equi_dim between 1 and {whole - 1}, got {equi_dim}")
    return size


def _invariant_objective(config: ObjectiveConfig, dim: int, views: int) -> Objective:
    objective = config.build(dim)
    objective.check_views(config.name, views)
    if objective.for_predictions:
        raise ValueError(f"objective {config.name!r} compares predictions with targets: it can only be `equivariant`")
    return objective


def _equivariant_objective(config: ObjectiveConfig, dim: int) -> Objective:
    objective = config.build(dim)
    objective.check_views(config.name, 2)
    if lacking := sorted(objective.needs - {"source"}):
        raise ValueError(f"objective {config.name!r} needs {', '.join(lacking)}: it can only be `invariant`")
    return objective
