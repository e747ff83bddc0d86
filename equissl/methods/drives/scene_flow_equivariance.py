"""Temporal objective of E-SSL3D: features of one sweep, moved by scene flow, are those of the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from equissl.encoders.voxel import SweepFeatures, VoxelEncoder
from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms, transform_flow_pair
from equissl.losses import flow_distance, full_precision, unit_norm, warp_features
from equissl.methods.base import widen
from equissl.methods.drives.base import pooled_mean
from equissl.methods.drives.contrast import STAGES, Stage
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.matching import point_sites, sites_at
from equissl.methods.views.teacher import Teacher

if TYPE_CHECKING:
    from equissl.datasets.drives.pairs.batch import ScenePair


@dataclass(frozen=True)
class FlowConfig:
    """Settings of the comparison of features moved by scene flow.

    Attributes:
        stage: what is warped: ``bev`` columns, or the 3D sites of one of the backbone's stages.
        predictor: sizes of the hidden layers of q.
        views: ``plain`` sweeps; both transformed by the ``same`` transform; or each by one of its own (``different``).
        denominator: squared distances are summed and divided by all ``HW`` cells of the maps, or by the ``valid`` ones,
            which the flow reaches and which hold features.
        normalise: compare unit vectors.
        symmetric: also predict the earlier sweep from the later one, by the same flow backwards, and average.
        momentum: momentum of the target networks at the first and at the last step, along half a cosine.
    """

    stage: Stage = "bev"
    predictor: tuple[int, ...] = (256,)
    views: Literal["plain", "same", "different"] = "plain"
    denominator: Literal["HW", "valid"] = "HW"
    normalise: bool = True
    symmetric: bool = False
    momentum: tuple[float, float] = (0.999, 1.0)

    def __post_init__(self) -> None:
        if self.stage not in STAGES or self.views not in ("plain", "same", "different"):
            raise ValueError(
                f"expected a stage of {', '.join(STAGES)} and views 'plain', 'same' or 'different', got "
                f"{self.stage!r} and {self.views!r}"
            )
        if self.denominator not in ("HW", "valid"):
            raise ValueError(f"expected denominator 'HW' or 'valid', got {self.denominator!r}")


@dataclass(frozen=True)
class FlowViews:
    """Two sweeps as the networks see them.

    Attributes:
        previous, current: B clouds each.
        reached: where the flow carries the points of ``previous``, in the frame of ``current``: B times (P, 3).
        valid: B times (P,) bool.
    """

    previous: tuple[Tensor, ...]
    current: tuple[Tensor, ...]
    reached: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]


def flow_views(batch: ScenePair, ranges: TransformRanges, views: str, first_view: int) -> FlowViews:
    """Transform the sweeps of a batch as asked for, and the flow between them.

    Args:
        batch: with flow.
        ranges: ranges of the transforms.
        views: see `FlowConfig`.
        first_view: number of the first transform drawn.

    Raises:
        ValueError: for a batch without flow.
    """
    if batch.flow is None or batch.flow_valid is None:
        raise ValueError("expected scene flow with every pair, got none: choose a flow provider for the data")
    if views == "plain":
        reached = tuple(p[:, :3] + d for p, d in zip(batch.previous, batch.flow, strict=True))
        return FlowViews(batch.previous, batch.current, reached, batch.flow_valid)
    earlier = draw_transforms(ranges, batch.seeds, first_view)
    later = earlier if views == "same" else draw_transforms(ranges, batch.seeds, first_view + 1)
    previous, current = earlier.apply(batch.previous), later.apply(batch.current)
    flow = map(transform_flow_pair, batch.previous, batch.flow, earlier.matrix, later.matrix)
    reached = tuple(p[:, :3] + d for p, d in zip(previous, flow, strict=True))
    return FlowViews(previous, current, reached, batch.flow_valid)


class SceneFlowEquivariance(nn.Module):
    """Target networks f', m' and the predictor q, and their loss.

    Args:
        config: see there.
        encoder: online encoder f.
        projector: online projector m of the features of ``config.stage``.
    """

    def __init__(self, config: FlowConfig, encoder: VoxelEncoder, projector: SiteHead) -> None:
        super().__init__()
        self.config = config
        self.predictor = SiteHead(projector.out_dim, (*config.predictor, projector.out_dim))
        self.teacher = Teacher(config.momentum, encoder=encoder, projector=projector)
        self.teacher.own_buffers = True
        self.momentum: Tensor
        self.register_buffer("momentum", torch.tensor(config.momentum[0]))

    def forward(
        self, encoder: VoxelEncoder, projector: SiteHead, views: FlowViews
    ) -> tuple[Tensor, SweepFeatures, dict[str, Tensor]]:
        """Compute the loss of the global batch, the online features of the later sweep, and terms for the log.

        Args:
            encoder, projector: online networks.
            views: the two sweeps and the flow from the first to the second.
        """
        later = encoder(views.current)
        loss, terms = self._predict(encoder, projector, later, views.previous, views, backwards=False)
        if self.config.symmetric:
            earlier = encoder(views.previous)
            back, _ = self._predict(encoder, projector, earlier, views.current, views, backwards=True)
            loss = (loss + back) / 2
        return loss, later, {"flow": loss.detach(), **terms, "ema": self.momentum.clone()}

    @torch.no_grad()
    def update(self, step: int, last_step: int, encoder: VoxelEncoder, projector: SiteHead) -> None:
        """Move the target networks, after the optimiser's step.

        Args:
            step: number of the step, from 0.
            last_step: last step of the run.
            encoder: online.
            projector: online.
        """
        self.momentum.fill_(self.teacher.update(step, last_step, encoder=encoder, projector=projector))

    def _predict(
        self,
        encoder: VoxelEncoder,
        projector: SiteHead,
        online: SweepFeatures,
        clouds: Sequence[Tensor],
        views: FlowViews,
        backwards: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Predict the online features from the target's features of ``clouds``."""
        stage = online.stage(self.config.stage)
        with torch.no_grad():
            target = self.teacher["encoder"](clouds)
            start, end = (target, online) if not backwards else (online, target)
            source = torch.cat(point_sites(start, self.config.stage))
            reached = torch.cat(sites_at(encoder, end.stage(self.config.stage), views.reached))
            valid = torch.cat(views.valid)
            source, reached = torch.where(valid, source, -1), torch.where(valid, reached, -1)
            way = (source, reached) if not backwards else (reached, source)
            cells, warped = warp_features(target.stage(self.config.stage).features, *way)
            z = self.teacher["projector"](warped)
        y = self.predictor(projector(stage.features[cells]))
        used = ((source >= 0) & (reached >= 0)).sum().to(widen(z).dtype)
        terms = {"valid_flow": pooled_mean(used, len(valid)), "target_std": _spread(z)}
        return self._mean(flow_distance(z, y, self.config.normalise), stage.batch_size, stage.spatial_shape), terms

    def _mean(self, distances: Tensor, scenes: int, shape: tuple[int, int, int]) -> Tensor:
        count = len(distances) if self.config.denominator == "valid" else scenes * shape[1] * shape[2]
        return pooled_mean(distances.sum(), count)


@full_precision
def _spread(z: Tensor) -> Tensor:
    """Standard deviation of unit targets (M, D) over cells, mean over dimensions: 0 collapsed, 1/sqrt(D) at best."""
    unit = unit_norm(z)
    variance = pooled_mean((unit - pooled_mean(unit.sum(0), len(unit))).square().sum(0), len(unit))
    return variance.sqrt().mean()
