"""Base of the capsule methods: an encoder's feature map, and capsules on top of it."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import CapsuleProjector
from equissl.encoders.config import EncoderConfig
from equissl.losses import invariance
from equissl.methods.base import widen
from equissl.methods.views.base import ViewMethod


class CapsuleMethod(ViewMethod):
    """Capsule activations are the invariant part, capsule poses the equivariant part.

    Args:
        encoder: image encoder with a feature map.
        image_size: side of the images in pixels; fixes the size of the capsule projector.
        capsules: K.
        pose_dim: numbers P in a pose.

    Raises:
        ValueError: for an image size the encoder has no square map for.
    """

    def __init__(self, encoder: EncoderConfig, image_size: int, capsules: int, pose_dim: int) -> None:
        super().__init__(encoder)
        channels, map_size = self.encoder.map_shape(image_size)
        self.projector = CapsuleProjector(channels, capsules, pose_dim, map_size)

    @abstractmethod
    def actions(self, batch: ViewBatch) -> Tensor:
        """Compute the input of `predict` about the change from the first to the second view, (B, ...)."""

    @abstractmethod
    def predict(self, poses: Tensor, actions: Tensor) -> Tensor:
        """Predict the second view's poses from the first view's, in the form they are compared in.

        Args:
            poses: (B, K·P) of the first view.
            actions: (B, ...) from the first to the second view.
        """

    @abstractmethod
    def target(self, poses: Tensor) -> Tensor:
        """Compute the second view's poses (B, K·P) in the form they are compared in."""

    def maps(self, batch: ViewBatch) -> list[Tensor]:
        """Compute the feature map (B, C, s, s) of each view."""
        self.check_views(batch)
        return [self.encoder.feature_map(self.normalise(batch.images[:, view])) for view in range(self.views)]

    def embed(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the feature map as activations (B, K) and poses (B, K·P)."""
        return self.projector(feature_map)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        feature_map = self.encoder.feature_map(self.normalise(images))
        activations, poses = self.embed(feature_map)
        return {"all": widen(self.encoder.pool(feature_map)), "inv": activations, "equi": poses}

    def equi_embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.target(parts["equi"])

    def predict_embedding(self, embedding: Tensor, batch: ViewBatch) -> Tensor:
        return self.predict(embedding, self.actions(batch))

    @torch.no_grad()
    def predictor_losses(self, batch: ViewBatch) -> dict[str, Tensor]:
        (_, poses), (_, poses2) = map(self.embed, self.maps(batch))
        return self.action_gap(poses, poses2, self.actions(batch))

    @torch.no_grad()
    def action_gap(self, poses: Tensor, poses2: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """Compute the equivariance loss of the batch's actions, and of each sample's neighbour's.

        Args:
            poses: (B, K·P) of the first view.
            poses2: (B, K·P) of the second view.
            actions: (B, ...).
        """
        target = self.target(poses2)
        return {
            "equivariance": invariance(self.predict(poses, actions), target),
            "equivariance_ignored_action": invariance(self.predict(poses, actions.roll(1, dims=0)), target),
        }
