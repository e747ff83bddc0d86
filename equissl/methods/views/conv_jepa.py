"""Conv-JEPA: each observed view alone predicts the last one.

A baseline of seq-JEPA (Ghaemi et al. 2025, arXiv 2505.03176).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.methods.base import StepOutput, gather_together, widen
from equissl.methods.views.actions import Action
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.seq_jepa import RESNET18
from equissl.methods.views.seq_jepa_parts import cosine_distance
from equissl.methods.views.teacher import Teacher
from equissl.predictors import ActionProjector


class ConvJEPA(ViewMethod):
    """From the projected representation of each observed view and the action to the last view, that one's projection.

    The target is a momentum teacher's, unless told otherwise. Nothing is aggregated.

    Args:
        encoder: image encoder.
        views: M + 1 views of each object in a batch, at least 2; the last one is the target.
        action: what the predictor is told, see :class:`equissl.methods.views.actions.Action`.
        sign: which of the two quaternions of a rotation.
        whiten_actions: shift actions to mean 0 and scale them to covariance 1 over the training pairs; the published
            methods do not.
        action_dim: size of embedded actions.
        projector: hidden and output width of the projector.
        hidden: width of the predictor.
        over_views: divide parameters of augmentations by their norm over the views, as ``action`` says.
        reduction: whether the losses of the views are summed (the paper) or averaged (the authors' code).
        target: whether the last view is encoded by a momentum ``teacher`` or, without gradient, by the networks
            themselves (``online``).
        momentum: momentum of the teacher at the first and at the last step; half a cosine in between.

    Raises:
        ValueError: for fewer than two views, or an unknown reduction or target.
    """

    action: Action

    def __init__(
        self,
        encoder: EncoderConfig = RESNET18,
        views: int = 5,
        action: str = "position",
        sign: QuaternionSign = "canonical",
        whiten_actions: bool = False,
        action_dim: int = 128,
        projector: tuple[int, int] = (2048, 128),
        hidden: int = 1024,
        over_views: bool = False,
        reduction: Literal["sum", "mean"] = "sum",
        target: Literal["teacher", "online"] = "teacher",
        momentum: tuple[float, float] = (0.996, 1.0),
    ) -> None:
        super().__init__(encoder)
        if views < 2:
            raise ValueError(f"expected at least 2 views, one to observe and one to predict, got {views}")
        if target not in ("teacher", "online"):
            raise ValueError(f"expected target to be 'teacher' or 'online', got {target!r}")
        if reduction not in ("sum", "mean"):
            raise ValueError(f"expected reduction to be 'sum' or 'mean', got {reduction!r}")
        self.views, self.action, self.reduction = views, Action(action, sign, over_views, whiten_actions), reduction
        wide, out = projector
        self.projector = nn.Sequential(
            nn.Linear(self.feature_dim, wide, bias=False),
            nn.BatchNorm1d(wide),
            nn.ReLU(),
            nn.Linear(wide, out, bias=False),
            nn.BatchNorm1d(out, affine=False),
        )
        self.action_projector = ActionProjector(self.action.dim, action_dim)
        self.predictor = nn.Sequential(
            nn.Linear(action_dim + out, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
        )
        networks = {"encoder": self.encoder, "projector": self.projector}
        self.teacher = Teacher(momentum, **networks) if target == "teacher" else None

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        observed = batch.images[:, :-1]
        seen = self.encoder(self.normalise(observed.flatten(0, 1)))
        last, target = self._target(batch)
        predicted = self._predict(self.projector(seen), self._actions(batch)).unflatten(0, observed.shape[:2])
        *together, goal = gather_together(*predicted.unbind(1), target)
        losses = torch.stack([cosine_distance(p, goal) for p in together])
        loss = losses.sum() if self.reduction == "sum" else losses.mean()
        features = widen(torch.cat([seen.detach().unflatten(0, observed.shape[:2]), last.unsqueeze(1)], dim=1))
        return StepOutput(loss, {"prediction": losses.detach().mean()}, features)

    def after_step(self, step: int, last_step: int) -> None:
        if self.teacher is not None:
            self.teacher.update(step, last_step, encoder=self.encoder, projector=self.projector)

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        return self._predict(embedding, self._told(batch, 0, 1))

    def _predict(self, embedding: Tensor, actions: Tensor) -> Tensor:
        return self.predictor(torch.cat([self.action_projector(actions), embedding], dim=1))

    def _actions(self, batch: ViewBatch) -> Tensor:
        """(B · M, A) from each observed view to the last one."""
        last = self.views - 1
        return torch.stack([self._told(batch, view, last) for view in range(last)], dim=1).flatten(0, 1)

    def _told(self, batch: ViewBatch, first: int, second: int) -> Tensor:
        return self.action(batch, first, second).to(next(self.parameters()).dtype)

    @torch.no_grad()
    def _target(self, batch: ViewBatch) -> tuple[Tensor, Tensor]:
        networks = {"encoder": self.encoder, "projector": self.projector} if self.teacher is None else self.teacher
        last = networks["encoder"](self.normalise(batch.images[:, -1]))
        return last, networks["projector"](last)
