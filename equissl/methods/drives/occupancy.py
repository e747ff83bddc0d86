"""Occupancy along rays: what stands behind a return, and what is empty before it (ALSO; Boulch et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.encoders.voxel import SweepFeatures, VoxelEncoderConfig
from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms
from equissl.losses import full_precision
from equissl.methods.base import StepOutput, detach_terms, stack_features
from equissl.methods.drives.base import DEFAULT_VOXELS, DriveMethod, item_seeds, pooled_mean
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.matching import sites_at

if TYPE_CHECKING:
    from equissl.datasets.drives.pairs.batch import ScenePair

ANY_ANGLE = TransformRanges(rotation=(-torch.pi, torch.pi), scale=(1.0, 1.0), translation=(0.0, 0.0))
OFFSETS = 6  # of a query from the middle of its cell, and its direction to the sensor


@dataclass(frozen=True)
class Queries:
    """Places of one sweep, Q before returns and then the same Q behind them.

    Attributes:
        positions: (2 Q, 3) metres.
        towards: (2 Q, 3) unit vectors to the sensor.
        occupied: (2 Q,) 0 before, 1 behind.
        intensity: (2 Q,) of the returns.
    """

    positions: Tensor
    towards: Tensor
    occupied: Tensor
    intensity: Tensor


def ray_queries(cloud: Tensor, sensor: Tensor, number: int, depth: float, seed: int) -> Queries:
    """Draw places shortly before and behind random returns, along their rays.

    Args:
        cloud: (N, 4) x, y, z, intensity.
        sensor: (3,) where the rays start.
        number: Q; fewer where there are fewer points.
        depth: longest distance from the return, metres; never beyond the sensor.
        seed: seed of the draw.
    """
    source = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(cloud), generator=source)[:number]
    distance = (depth * torch.rand(len(chosen), 1, generator=source)).to(cloud)
    points, intensity = cloud[chosen.to(cloud.device), :3], cloud[chosen.to(cloud.device), 3]
    ray = sensor.to(cloud) - points
    length = torch.linalg.vector_norm(ray, dim=1, keepdim=True)
    towards = ray / length.clamp(min=1e-6)
    step = towards * torch.minimum(distance, length)
    occupied = torch.cat([torch.zeros_like(intensity), torch.ones_like(intensity)])
    return Queries(torch.cat([points + step, points - step]), towards.repeat(2, 1), occupied, intensity.repeat(2))


class Occupancy(DriveMethod):
    """Reconstruction of occupancy and intensity at places in a column of the bird's-eye view.

    Places lie on rays, up to ``depth`` before a return (empty) or behind it (occupied). The original asks every feature
    within 1 m for its answer; here it is the column that a place lies in.

    Args:
        encoder: encoder of the clouds.
        ranges: ranges of the transformation of each cloud; any turn about z and mirrors by default, as in ALSO.
        queries: returns drawn from each sweep; 2048 make 4096 places.
        depth: largest distance of a place from its return, metres.
        hidden: sizes of the hidden layers of the decoder.
        intensity_weight: weight of the squared error of the returns' intensity; 0 leaves it out.
        sensor: where rays start in the frame of a sweep, metres.

    Raises:
        ValueError: for numbers that are not positive.
    """

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        ranges: TransformRanges = ANY_ANGLE,
        queries: int = 2048,
        depth: float = 0.1,
        hidden: Sequence[int] = (256, 128),
        intensity_weight: float = 1.0,
        sensor: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        super().__init__(encoder)
        if queries < 1 or not depth > 0:
            raise ValueError(f"expected positive queries and depth, got {queries} and {depth}")
        self.ranges, self.queries, self.depth = ranges, queries, depth
        self.intensity_weight, self.sensor = intensity_weight, sensor
        outputs = 2 if intensity_weight else 1
        self.decoder = SiteHead(self.encoder.feature_dim + OFFSETS, (*hidden, outputs))

    def step(self, batch: ScenePair) -> StepOutput:
        transform = draw_transforms(self.ranges, batch.seeds, 0)
        clouds = transform.apply(batch.current)
        encoded = self.encode(clouds)
        loss, terms = self._loss(encoded, self._queries(clouds, self._sensors(transform.matrix), batch))
        return StepOutput(loss, terms, stack_features([self.pooled(encoded)]))

    def _sensors(self, matrices: Tensor) -> Tensor:
        """(B, 3): where the transforms (B, 4, 4) put the sensor."""
        return matrices[:, :3, :3] @ matrices.new_tensor(self.sensor) + matrices[:, :3, 3]

    def _queries(self, clouds: Sequence[Tensor], sensors: Tensor, batch: ScenePair) -> list[Queries]:
        """Places about returns of each cloud within the range of the encoder."""
        kept = [cloud[self.encoder.grid.locate(cloud)[1]] for cloud in clouds]
        draws = zip(kept, sensors, item_seeds(batch, 0), strict=True)
        return [ray_queries(cloud, sensor, self.queries, self.depth, seed) for cloud, sensor, seed in draws]

    def _loss(self, encoded: SweepFeatures, queries: list[Queries]) -> tuple[Tensor, dict[str, Tensor]]:
        positions, towards, occupied, intensity = (
            torch.cat([getattr(query, name) for query in queries])
            for name in ("positions", "towards", "occupied", "intensity")
        )
        cells = torch.cat(sites_at(self.encoder, encoded.bev, [query.positions for query in queries]))
        known = cells >= 0
        inside = torch.cat([self._offsets(positions[known]), towards[known]], dim=1)
        features = encoded.bev.features[cells[known]]
        answers = self.decoder(torch.cat([features, inside.to(features.dtype)], dim=1))
        return self._compare(answers, occupied[known], intensity[known], len(cells))

    def _offsets(self, positions: Tensor) -> Tensor:
        """Places (Q, 3) from the middle of their cell, and their height."""
        size = positions.new_tensor(self.encoder.grid.voxel_size[:2]) * self.encoder.cell_voxels
        low = positions.new_tensor(self.encoder.grid.point_range[:2])
        across = (positions[:, :2] - low).remainder(size) - size / 2
        return torch.cat([across, positions[:, 2:]], dim=1)

    @full_precision
    def _compare(
        self, answers: Tensor, occupied: Tensor, intensity: Tensor, asked: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = answers[:, 0]
        entropy = F.binary_cross_entropy_with_logits(logits, occupied.to(logits.dtype), reduction="sum")
        loss = pooled_mean(entropy, len(logits))
        right = ((logits > 0) == (occupied > 0)).sum().to(logits.dtype)
        terms = {"occupancy": loss, "occupancy_accuracy": pooled_mean(right, len(logits))}
        terms["known"] = pooled_mean(logits.new_tensor(float(len(logits))), asked)
        if self.intensity_weight:
            error = pooled_mean((answers[:, 1] - intensity.to(logits.dtype)).square().sum(), len(logits))
            loss, terms["intensity"] = loss + self.intensity_weight * error, error
        return loss, detach_terms(**terms)
