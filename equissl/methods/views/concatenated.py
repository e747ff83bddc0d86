"""Several encoders side by side: what stages of multistage contrastive learning (MCL) are evaluated as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Encoder
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import unit_norm
from equissl.methods.base import widen
from equissl.methods.views.simclr import SimCLR


class StageEncoders(Encoder):
    """Encoders whose vectors stand one after the other.

    Args:
        encoders: of the stages, alike but for their weights.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(encoders)
        self.feature_dim = sum(encoder.feature_dim for encoder in encoders)

    def feature_map(self, images: Tensor) -> Tensor:
        return torch.cat([encoder.feature_map(images) for encoder in self.stages], dim=1)  # type: ignore[operator]

    def pool(self, feature_map: Tensor) -> Tensor:
        parts = feature_map.chunk(len(self.stages), dim=1)
        return torch.cat([e.pool(x) for e, x in zip(self.stages, parts, strict=True)], dim=1)  # type: ignore[operator]


@dataclass(frozen=True)
class _Stages:
    """Config of `StageEncoders`."""

    encoder: EncoderConfig
    stages: int

    def build(self) -> StageEncoders:
        return StageEncoders([self.encoder.build() for _ in range(self.stages)])


class Concatenated(SimCLR):
    """SimCLR on the concatenated representation of several encoders, of unit length as a whole.

    `equissl stages` writes one whose encoders are those of its stages (Zhang et al., "Learning the unlearned", ECCV
    2024). The paper's: the vectors of the stages are concatenated as they are and then scaled to unit length; where
    each has unit length, the cosine of two concatenations is the mean of the stages' cosines. Ours: each stage is a
    part of the features too, ``stage_0`` …, so that one evaluation measures all of them; and the whole can be trained.

    Args:
        encoder: of each stage.
        stages: number of encoders.
        projector, temperature, projector_norm: see `SimCLR`.

    Raises:
        ValueError: for no stages.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        stages: int = 2,
        projector: Sequence[int] = (2048, 2048, 2048),
        temperature: float = 0.1,
        projector_norm: bool = False,
    ) -> None:
        if stages < 1:
            raise ValueError(f"expected at least 1 stage, got {stages}")
        super().__init__(_Stages(encoder, stages), projector, temperature, projector_norm)  # type: ignore[arg-type]
        self.pixel_mean, self.pixel_std = tuple(encoder.pixel_mean), tuple(encoder.pixel_std)
        self.stages = stages

    def view_features(self, batch: ViewBatch) -> list[Tensor]:
        return [unit_norm(view) for view in super().view_features(batch)]

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        whole = widen(self.encoder(self.normalise(inputs)))
        parts = {f"stage_{i}": part for i, part in enumerate(whole.chunk(self.stages, dim=1))}
        return {"all": unit_norm(whole), **parts}
