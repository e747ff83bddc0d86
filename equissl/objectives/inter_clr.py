"""InterCLR as an objective: MoCo, and positives from other images of an online cluster (Xie et al., TPAMI 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equissl.losses.inter_clr import Margin, inter_clr
from equissl.losses.memory_bank import MemoryBank, Pool
from equissl.losses.precision import full_precision, unit_norm
from equissl.objectives.base import Embedded, Need, Objective
from equissl.objectives.moco import MoCo
from equissl.objectives.teacher_views import on_device, promoted, teacher_views


class InterCLR(Objective):
    """``(1 - weight)`` times `MoCo` plus ``weight`` times the same against a random image of the query's cluster.

    The second term is 0 until the bank has clusters, after one epoch's worth of samples, and leaves out samples that
    the bank has not met. The bank keeps the mean of the teacher's embeddings of a sample's views.

    Args:
        dim: width of the embeddings.
        samples: size of the dataset.
        clusters: number of clusters; None is one for 128 samples.
        weight: of the inter-image term.
        queue: past embeddings that serve as negatives of `MoCo`.
        temperature: divides the cosines in both terms.
        margin: of the inter-image term; below 0 it loosens the boundary.
        margin_kind: margin in the cosine or in the arc.
        pool: which members of other clusters are negatives, see `MemoryBank.draw_negatives`.
        negatives: how many for each query, or the share of the dataset (rounded up) for a float.
        pool_size: nearest (or farthest) members that they are drawn from, or the share of the dataset for a float.
        bank_momentum: share of the new feature when the bank is updated.
        recompute_every: updates between two computations of the centroids.
        min_members: smaller clusters are dissolved.
        momentum: of the teacher, at the first and at the last step.

    Raises:
        ValueError: for options out of range, or fewer samples than the clusters need.
    """

    needs: frozenset[Need] = frozenset({"teacher", "samples"})

    def __init__(
        self,
        dim: int,
        samples: int,
        clusters: int | None = None,
        weight: float = 0.25,
        queue: int = 65536,
        temperature: float = 0.2,
        margin: float = -0.5,
        margin_kind: Margin = "cosine",
        pool: Pool = "semi-hard",
        negatives: int | float = 0.0128,
        pool_size: int | float = 0.1,
        bank_momentum: float = 1.0,
        recompute_every: int = 10,
        min_members: int = 20,
        momentum: tuple[float, float] = (0.999, 0.999),
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"expected a weight of the inter-image term in [0, 1], got {weight}")
        self.intra = MoCo(dim, queue, temperature, momentum)
        self.bank = MemoryBank(samples, dim, clusters, bank_momentum, recompute_every, min_members)
        self.count, self.pool_size = _number(negatives, samples), _number(pool_size, samples)
        if not 1 <= self.count <= self.pool_size <= samples:
            raise ValueError(
                f"expected 1 <= negatives <= pool_size <= {samples} samples, got {self.count} and {self.pool_size}"
            )
        self.weight, self.temperature, self.momentum, self.pool = weight, temperature, momentum, pool
        self.margin, self.margin_kind = margin, margin_kind

    def forward(self, batch: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        teacher, samples = teacher_views(batch, "InterCLR"), _samples(batch)
        self.bank.check_samples(samples)
        inter = self._inter(batch.z, samples)
        intra, _ = self.intra(batch)
        if self.training:
            self.bank.update(samples, _mean_direction(teacher))
        return (1 - self.weight) * intra + self.weight * inter, {"intra": intra.detach(), "inter": inter.detach()}

    def _inter(self, z: Tensor, samples: Tensor) -> Tensor:
        met = self.bank.labels[samples] >= 0
        if not met.any():
            return torch.zeros((), device=z.device)
        queries, samples = z[met].flatten(0, 1), samples[met].repeat_interleave(z.shape[1])
        index, generator = self.bank.index(), on_device(self.generator(), z.device)
        memory = promoted(self.bank.features, queries)
        positives = memory[index.draw_mates(samples, generator)]
        negatives = self.bank.draw_negatives(queries, samples, self.count, self.pool, self.pool_size, generator, index)
        return inter_clr(queries, positives, memory, negatives, self.temperature, self.margin, self.margin_kind)


def _number(value: int | float, total: int) -> int:
    return math.ceil(value * total) if isinstance(value, float) else value


def _samples(batch: Embedded) -> Tensor:
    if batch.samples is None or batch.samples.shape != batch.z.shape[:1]:
        shape = None if batch.samples is None else tuple(batch.samples.shape)
        raise ValueError(f"InterCLR needs the positions ({len(batch.z)},) of the samples in the dataset, got {shape}")
    return batch.samples


@torch.no_grad()
@full_precision
def _mean_direction(teacher: Tensor) -> Tensor:
    """Compute the mean (B, D) of the unit embeddings (B, V, D) of a sample's views."""
    return unit_norm(teacher).mean(dim=1)
