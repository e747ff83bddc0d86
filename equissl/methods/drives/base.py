"""Interface of methods on pairs of LiDAR sweeps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.encoders.voxel import SweepFeatures, VoxelEncoder, VoxelEncoderConfig
from equissl.losses import all_reduce_mean
from equissl.methods.base import Method, StepOutput, widen
from equissl.sparse import SparseTensor

DEFAULT_VOXELS = VoxelEncoderConfig()


class DriveMethod(Method):
    """A sparse voxel encoder, what is trained on top of it, and the loss.

    Random choices about a pair come from its seed in the batch. Clouds are (P, 4): x, y, z, intensity. The
    representation of a sweep is the mean and the maximum over the columns of its bird's-eye view.
    """

    kind = "drives"
    batch = ScenePair
    encoder: VoxelEncoder

    def __init__(self, encoder: VoxelEncoderConfig) -> None:
        super().__init__(encoder)
        self.feature_dim = 2 * self.encoder.feature_dim

    @abstractmethod
    def step(self, batch: ScenePair) -> StepOutput:
        """Compute loss, diagnostics and representation of one batch of pairs of sweeps."""

    def encode(self, clouds: Sequence[Tensor]) -> SweepFeatures:
        """Compute the features of all stages."""
        return self.encoder(clouds)

    def features(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``all``: (B, D) of clouds (P, 4); zeros for a cloud without a point in range."""
        return {"all": self.pooled(self.encode(inputs))}

    def bev_features(self, clouds: Sequence[Tensor]) -> SparseTensor:
        """Compute the columns of the bird's-eye view: features (M, D / 2) on (1, Y, X)."""
        return self.encode(clouds).bev

    def pooled(self, encoded: SweepFeatures) -> Tensor:
        """Compute (B, D) in full precision."""
        return widen(self.encoder.pool(encoded.bev))


def pooled_mean(total: Tensor, count: int) -> Tensor:
    """Sums over this process' part divided by a count, both summed over all processes; 0 where nothing was counted.

    Args:
        total: any shape, with gradient.
        count: what to divide by.
    """
    known = total.new_full((1,), float(count))
    *sums, known = all_reduce_mean(torch.cat([total.flatten(), known])).split([total.numel(), 1])
    known = known.detach()
    return (sums[0] / torch.where(known > 0, known, 1)).view(total.shape)


def item_seeds(batch: ScenePair, purpose: int) -> list[int]:
    """Derive one seed for each pair of the batch.

    Args:
        batch: batch of B pairs.
        purpose: keeps the draws for different ends apart.
    """
    return [(seed * 0x9E3779B97F4A7C15 + purpose) % 2**63 for seed in batch.seeds.tolist()]
