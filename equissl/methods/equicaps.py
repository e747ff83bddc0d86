"""EquiCaps: capsules whose pose matrices turn with the object (arXiv 2506.09895, ICCV 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.datasets.batch import ViewBatch
from equissl.encoders import CapsuleProjector
from equissl.losses import (
    activation_cross_entropy,
    covariance_penalty,
    invariance,
    mean_entropy_gap,
    normalize_poses,
    variance_hinge,
)
from equissl.methods.base import (
    DEFAULT_ENCODER,
    EncoderConfig,
    Method,
    StepOutput,
    detach_terms,
    gather_together,
    stack_features,
    widen,
)
from equissl.predictors import pose_action


class EquiCaps(Method):
    """Capsule activations are the invariant part, 3 × 3 capsule poses the equivariant part.

    Nothing is learned about the action: P_k·R12 of the first view must equal P'_k of the second, up to scale.

    Args:
        encoder: image encoder with a feature map.
        image_size: side of the images in pixels; fixes the size of the capsule projector.
        capsules: K.
        sim: weight of the cross-entropy of the activations.
        equi: weight of the pose difference.
        std: weight of the variance hinge.
        cov: weight of the covariance penalty.
        entropy: weight of the mean-entropy gap, which makes the batch use all capsules.

    Raises:
        ValueError: for an image size the encoder has no square map for.
    """

    pose_size = 3

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        image_size: int = 256,
        capsules: int = 32,
        sim: float = 0.1,
        equi: float = 5.0,
        std: float = 10.0,
        cov: float = 1.0,
        entropy: float = 1.0,
    ) -> None:
        super().__init__(encoder)
        channels, map_size = self.encoder.map_shape(image_size)
        self.projector = CapsuleProjector(channels, capsules, self.pose_size**2, map_size)
        self.sim, self.equi, self.std, self.cov, self.entropy = sim, equi, std, cov, entropy

    def step(self, batch: ViewBatch) -> StepOutput:
        maps = self._maps(batch)
        g = self.actions(batch)
        (a, poses), (a2, poses2) = map(self.embed, maps)
        moved, target = normalize_poses(pose_action(poses, g)), normalize_poses(poses2)
        loss, terms = self.loss(*gather_together(a, moved.flatten(1), a2, target.flatten(1)))
        gap = self._action_gap(poses, poses2, g) if self.track_action_gap else None
        return StepOutput(loss, terms, stack_features([self.encoder.pool(m) for m in maps]), gap)

    def loss(self, a: Tensor, moved: Tensor, a2: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and its terms from the global batch.

        Args:
            a, a2: (B, K) activations of the first and second view.
            moved: (B, K·n²) poses of the first view after the rotation, each of unit norm.
            target: (B, K·n²) poses of the second view, each of unit norm.
        """
        x, y = torch.cat([a, moved], dim=1), torch.cat([a2, target], dim=1)
        inv, equi = activation_cross_entropy(a, a2), invariance(moved, target)
        std = (variance_hinge(x) + variance_hinge(y)) / 2
        cov = covariance_penalty(x) + covariance_penalty(y)
        entropy = mean_entropy_gap(a) + mean_entropy_gap(a2)
        loss = self.sim * inv + self.equi * equi + self.std * std + self.cov * cov + self.entropy * entropy
        return loss, detach_terms(invariance=inv, equivariance=equi, variance=std, covariance=cov, entropy_gap=entropy)

    def actions(self, batch: ViewBatch) -> Tensor:
        """(B, n, n) matrices G that poses of the first view are multiplied by."""
        return batch.relative_rotations().to(next(self.parameters()).dtype)

    def embed(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map to activations (B, K) and poses (B, K, n, n)."""
        activations, poses = self.projector(feature_map)
        return activations, poses.unflatten(1, (-1, self.pose_size, self.pose_size))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        feature_map = self.encoder.feature_map(self.normalise(images))
        activations, poses = self.embed(feature_map)
        return {"all": widen(self.encoder.pool(feature_map)), "inv": activations, "equi": poses.flatten(1)}

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor]:
        (_, poses), (_, poses2) = map(self.embed, self._maps(batch))
        return self._action_gap(poses, poses2, self.actions(batch))

    def _maps(self, batch: ViewBatch) -> list[Tensor]:
        self.check_views(batch)
        return [self.encoder.feature_map(self.normalise(batch.images[:, view])) for view in range(self.views)]

    @torch.no_grad()
    def _action_gap(self, poses: Tensor, poses2: Tensor, g: Tensor) -> dict[str, Tensor]:
        target = normalize_poses(poses2)
        ignored = pose_action(poses, g.roll(1, dims=0))
        return {
            "equivariance": invariance(normalize_poses(pose_action(poses, g)), target),
            "equivariance_ignored_action": invariance(normalize_poses(ignored), target),
        }
