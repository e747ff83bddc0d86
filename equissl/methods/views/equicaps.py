"""EquiCaps: capsules whose pose matrices move with the object (arXiv 2506.09895, ICCV 2025)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equissl.datasets.views.batch import Frame, ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.geometry import rigid
from equissl.losses import (
    activation_cross_entropy,
    covariance_penalty,
    invariance,
    mean_entropy_gap,
    normalize_poses,
    variance_hinge,
)
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.capsules import CapsuleMethod
from equissl.methods.views.embedding import pair_loss, plain_objective
from equissl.objectives import ObjectiveConfig
from equissl.predictors import pose_action


class EquiCaps(CapsuleMethod):
    """Capsule activations are the invariant part, n × n capsule poses the equivariant part.

    Nothing is learned about the action: P_k·G of the first view must equal P'_k of the second, up to scale, where G is
    the relative rotation R12 or the relative rigid transform M12.

    Args:
        encoder: image encoder with a feature map.
        image_size: side of the images in pixels; fixes the size of the capsule projector.
        capsules: K.
        pose: ``rotation``: poses move with R12 alone; ``rigid``: with M12, which needs views with translations.
        pose_size: n. None means 3 for rotations and 4 for rigid transforms; 4 with ``rotation`` moves 4 × 4 poses by
            [R12 0; 0 1].
        frame: of the rigid transforms, see :meth:`equissl.datasets.views.batch.ViewBatch.relative_rigids`.
        sim: weight of the cross-entropy of the activations.
        equi: weight of the pose difference.
        std: weight of the variance hinge.
        cov: weight of the covariance penalty.
        entropy: weight of the mean-entropy gap, which makes the batch use all capsules.
        objective: replaces the cross-entropy of the activations; one without a teacher. See
            :data:`equissl.objectives.OBJECTIVES`.

    Raises:
        ValueError: for an image size the encoder has no square map for, 3 × 3 poses with rigid transforms, an unknown
            pose or frame, or another frame than the default with rotations, which have none.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        image_size: int = 256,
        capsules: int = 32,
        pose: Literal["rotation", "rigid"] = "rotation",
        pose_size: Literal[3, 4] | None = None,
        frame: Frame = "object",
        sim: float = 0.1,
        equi: float = 5.0,
        std: float = 10.0,
        cov: float = 1.0,
        entropy: float = 1.0,
        objective: ObjectiveConfig | None = None,
    ) -> None:
        size = _pose_size(pose, pose_size, frame)
        super().__init__(encoder, image_size, capsules, size**2)
        self.pose, self.pose_size, self.frame = pose, size, frame
        self.sim, self.equi, self.std, self.cov, self.entropy = sim, equi, std, cov, entropy
        if objective is not None:
            self.objective = plain_objective(objective, capsules)

    def step(self, batch: ViewBatch) -> StepOutput:
        g = self.actions(batch)
        maps = self.maps(batch)
        (a, poses), (a2, poses2) = map(self.embed, maps)
        a, moved, a2, target = gather_together(a, self.predict(poses, g), a2, self.target(poses2))
        loss, terms = self.loss(a, moved, a2, target, pair_loss(self.objective, a, a2, batch))
        gap = self.action_gap(poses, poses2, g) if self.track_action_gap else None
        return StepOutput(loss, terms, stack_features([self.encoder.pool(m) for m in maps]), gap)

    def loss(
        self, a: Tensor, moved: Tensor, a2: Tensor, target: Tensor, inv: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and its terms from the global batch.

        Args:
            a, a2: (B, K) activations of the first and second view.
            moved: (B, K·n²) poses of the first view after the action, each of unit norm.
            target: (B, K·n²) poses of the second view, each of unit norm.
            inv: invariance term, where it is not the cross-entropy of the activations.
        """
        x, y = torch.cat([a, moved], dim=1), torch.cat([a2, target], dim=1)
        inv = activation_cross_entropy(a, a2) if inv is None else inv
        equi = invariance(moved, target)
        std = (variance_hinge(x) + variance_hinge(y)) / 2
        cov = covariance_penalty(x) + covariance_penalty(y)
        entropy = mean_entropy_gap(a) + mean_entropy_gap(a2)
        loss = self.sim * inv + self.equi * equi + self.std * std + self.cov * cov + self.entropy * entropy
        return loss, detach_terms(invariance=inv, equivariance=equi, variance=std, covariance=cov, entropy_gap=entropy)

    def actions(self, batch: ViewBatch) -> Tensor:
        """Compute (B, n, n) matrices G that poses of the first view are multiplied by.

        Raises:
            ValueError: for rigid transforms of a batch without translations.
        """
        if self.pose == "rigid":
            g = batch.relative_rigids(frame=self.frame)
        else:
            g = batch.relative_rotations()
            if self.pose_size == 4:
                g = rigid(g, g.new_zeros(3))
        return g.to(next(self.parameters()).dtype)

    def predict(self, poses: Tensor, actions: Tensor) -> Tensor:
        return normalize_poses(pose_action(self._matrices(poses), actions)).flatten(1)

    def target(self, poses: Tensor) -> Tensor:
        return normalize_poses(self._matrices(poses)).flatten(1)

    def _matrices(self, poses: Tensor) -> Tensor:
        """(B, K·n²) to (B, K, n, n), row-major."""
        return poses.unflatten(1, (-1, self.pose_size, self.pose_size))


def _pose_size(pose: str, pose_size: int | None, frame: str) -> int:
    if pose not in ("rotation", "rigid"):
        raise ValueError(f"expected pose to be 'rotation' or 'rigid', got {pose!r}")
    if frame not in ("object", "base"):
        raise ValueError(f"expected frame to be 'object' or 'base', got {frame!r}")
    if pose == "rotation" and frame != "object":
        raise ValueError(
            f"expected pose='rigid' with frame={frame!r}: a rotation alone has no frame, got pose='rotation'"
        )
    sizes = (4,) if pose == "rigid" else (3, 4)
    if pose_size is not None and pose_size not in sizes:
        raise ValueError(f"expected pose_size to be one of {sizes} with pose={pose!r}, got {pose_size}")
    return pose_size or sizes[0]
