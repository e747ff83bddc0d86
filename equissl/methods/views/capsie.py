"""CapsIE: SIE's predictor on the poses of capsules (arXiv 2405.14386, TMLR 2025)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.geometry import QuaternionSign
from equissl.losses import (
    covariance_penalty,
    invariance,
    mean_entropy_gap,
    sharpen,
    sharpened_cross_entropy,
    variance_hinge,
)
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.actions import Action
from equissl.methods.views.capsules import CapsuleMethod
from equissl.methods.views.embedding import pair_loss, plain_objective
from equissl.objectives import ObjectiveConfig
from equissl.predictors import create_predictor

# The temperatures would reach their last value after 1.25 times the run; the run ends at four fifths of the way.
_STRETCH = 1.25


class CapsIE(CapsuleMethod):
    """Sharpened capsule activations that agree between views, and a predictor of the poses that knows the rotation.

    From the released training script: encoder, one self-routing layer to 16 capsules with 4 × 4 poses, SIE's linear
    hypernetwork, the weights, the two temperatures with their linear schedule, and the names of the logged terms. The
    loss itself has not been released. **Inferred here**, by the related published methods:

    * invariance: cross-entropy between sharpened activations, p^(1/T) normalised (as in PAWS and MSN), in one direction
      with the second view as target, and with a gradient through both views (as in EquiCaps; ``detach_target`` cuts it
      as MSN does). The first ("anchor") temperature sharpens the first view, the second ("target") the second.
    * mean-entropy gap: of the sharpened activations of both views, each averaged over the global batch (as PAWS takes
      it of its sharpened predictions, EquiCaps of both views). ``entropy`` weighs it like the cross-entropy, as PAWS
      and MSN do. With EquiCaps' weight of 1 beside ``sim`` 10, one capsule took every image within 50 steps.
    * equivariance: mean squared error, first to second view only, between poses as the routing gives them (not
      normalised); one hypernetwork moves all K·16 numbers together, not each capsule by itself.
    * the script's "scale-equi" switch: the equivariance weight is relative to ``sim``, 4.5 in all, as in SIE;
      ``scale_equi`` False takes ``equi`` by itself.
    * variance and covariance: of (activations before sharpening, poses) of each view, and half the variance hinge of
      the predicted poses, as in SIE.
    * schedule: after n of N optimiser steps a temperature is n / (1.25 N) of the way from its first to its last value.
    * what "poses" and "activations" are evaluated: those after routing.

    Args:
        encoder: image encoder with a feature map.
        image_size: side of the images in pixels; fixes the size of the capsule projector.
        capsules: K.
        pose_dim: numbers in a pose.
        predictor: one of :data:`equissl.predictors.PREDICTORS`, or an import path.
        predictor_options: its further arguments, see :func:`equissl.predictors.create_predictor`.
        sim: weight of the invariance term.
        equi: weight of the equivariance term.
        std: weight of the variance hinge.
        cov: weight of the covariance penalty.
        entropy: weight of the mean-entropy gap.
        scale_equi: whether ``equi`` is relative to ``sim``.
        anchor_temperature: temperature of the first view, at the start and after 1.25 times the run.
        target_temperature: temperature of the second view, likewise.
        detach_target: keep the gradient of the invariance term from the second view.
        action: what the predictor is told, see :class:`equissl.methods.views.actions.Action`.
        sign: which of the two quaternions of a rotation, see :func:`equissl.geometry.relative_unitquat`.
        whiten_actions: shift actions to mean 0 and scale them to covariance 1 over the training pairs; the published
            methods do not.
        objective: replaces the cross-entropy of the activations; one without a teacher. See
            :data:`equissl.objectives.OBJECTIVES`.

    Raises:
        ValueError: for an image size the encoder has no square map for, temperatures not above 0, or an unknown
            predictor or action.
    """

    schedule: Tensor
    action: Action

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        image_size: int = 256,
        capsules: int = 16,
        pose_dim: int = 16,
        predictor: str = "hypernetwork",
        predictor_options: dict[str, Any] | None = None,
        sim: float = 10.0,
        equi: float = 0.45,
        std: float = 10.0,
        cov: float = 1.0,
        entropy: float = 10.0,
        scale_equi: bool = True,
        anchor_temperature: tuple[float, float] = (0.1, 0.1),
        target_temperature: tuple[float, float] = (0.025, 0.1),
        detach_target: bool = False,
        action: str = "quaternion",
        sign: QuaternionSign = "canonical",
        whiten_actions: bool = False,
        objective: ObjectiveConfig | None = None,
    ) -> None:
        super().__init__(encoder, image_size, capsules, pose_dim)
        self.action = Action(action, sign, whiten=whiten_actions)
        self.predictor = create_predictor(predictor, capsules * pose_dim, self.action.identity, predictor_options)
        self.sim, self.std, self.cov, self.entropy = sim, std, cov, entropy
        self.equi = equi * sim if scale_equi else equi
        self.temperature_ranges = _checked(anchor=anchor_temperature, target=target_temperature)
        self.detach_target = detach_target
        if objective is not None:
            self.objective = plain_objective(objective, capsules)
        self.register_buffer("schedule", torch.tensor([0, 1]))  # optimiser steps done, and in the whole run

    def step(self, batch: ViewBatch) -> StepOutput:
        z = self.actions(batch)
        maps = self.maps(batch)
        (a, poses), (a2, poses2) = map(self.embed, maps)
        a, u, a2, u2, predicted = gather_together(a, poses, a2, poses2, self.predict(poses, z))
        loss, terms = self.loss(a, u, a2, u2, predicted, pair_loss(self.objective, a, a2, batch))
        gap = self.action_gap(poses, poses2, z) if self.track_action_gap else None
        return StepOutput(loss, terms, stack_features([self.encoder.pool(m) for m in maps]), gap)

    def loss(
        self, a: Tensor, poses: Tensor, a2: Tensor, poses2: Tensor, predicted: Tensor, inv: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms from the global batch.

        Args:
            a, a2: (B, K) activations of the first and second view.
            poses, poses2: (B, K·P) poses of the first and second view.
            predicted: (B, K·P) the predictor's idea of ``poses2``.
            inv: invariance term, where it is not the cross-entropy of the sharpened activations.
        """
        t, t2 = self.temperatures()
        x, y = torch.cat([a, poses], dim=1), torch.cat([a2, poses2], dim=1)
        if inv is None:
            inv = sharpened_cross_entropy(a, a2.detach() if self.detach_target else a2, t, t2)
        equi = invariance(predicted, poses2)
        # halved like each view's, as published
        std, predicted_std = (variance_hinge(x) + variance_hinge(y)) / 2, variance_hinge(predicted) / 2
        cov = covariance_penalty(x) + covariance_penalty(y)
        entropy = mean_entropy_gap(sharpen(a, t)) + mean_entropy_gap(sharpen(a2, t2))
        loss = self.sim * inv + self.equi * equi + self.cov * cov + self.entropy * entropy
        loss = loss + self.std * (std + predicted_std)
        return loss, detach_terms(
            invariance=inv,
            equivariance=equi,
            variance=std,
            predictor_variance=predicted_std,
            covariance=cov,
            entropy_gap=entropy,
        )

    def temperatures(self) -> tuple[Tensor, Tensor]:
        """Return the scalars that sharpen the first and the second view at this point of the run."""
        dtype = torch.promote_types(torch.float32, next(self.parameters()).dtype)
        now, whole = self.schedule.to(dtype)
        done = (now / (_STRETCH * whole)).clamp(max=1)
        first, second = (start + done * (end - start) for start, end in self.temperature_ranges)
        return first, second

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        self.schedule[0] = step + 1
        self.schedule[1] = last_step

    def actions(self, batch: ViewBatch) -> Tensor:
        """Compute the actions from the first to the second view, (B, A)."""
        return self.action(batch).to(next(self.parameters()).dtype)

    def predict(self, poses: Tensor, actions: Tensor) -> Tensor:
        return self.predictor(poses, actions)

    def target(self, poses: Tensor) -> Tensor:
        return poses


def _checked(**ranges: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    for name, (start, end) in ranges.items():
        if min(start, end) <= 0:
            raise ValueError(f"expected {name} temperatures above 0, got {start} and {end}")
    return tuple((float(start), float(end)) for start, end in ranges.values())
