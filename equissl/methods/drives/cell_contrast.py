"""Contrast of sites: PointContrast (Xie et al., ECCV 2020) and BEVContrast (Sautier et al., 3DV 2024), by options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from equissl.encoders.voxel import SweepFeatures, VoxelEncoderConfig
from equissl.geometry import transform_points
from equissl.geometry.sweep_transforms import SweepTransform, TransformRanges, draw_transforms, transform_cloud
from equissl.methods.base import StepOutput, stack_features
from equissl.methods.drives.base import DEFAULT_VOXELS, DriveMethod, item_seeds
from equissl.methods.drives.contrast import ContrastConfig, site_contrast
from equissl.methods.drives.heads import SiteHead
from equissl.methods.drives.matching import point_sites, sites_at

if TYPE_CHECKING:
    from equissl.datasets.drives.pairs.batch import ScenePair

DEFAULT_RANGES = TransformRanges()
DEFAULT_POINTS = ContrastConfig(pairs=4096, reduction="mean", symmetric=True)


class CellContrast(DriveMethod):
    """Contrast of sites: one place has one feature in two views, unlike the other places of its sweep.

    Args:
        encoder: encoder of the clouds.
        sweeps: ``same``: two transformed views of the later sweep, matched point by point (PointContrast). ``ego``: the
            two sweeps, matched by the motion of the vehicle, as if the world stood still (BEVContrast). ``flow``: the
            two sweeps, matched by the scene flow of every point.
        ranges: ranges of the transformations of each view.
        points: options of the contrast.

    Raises:
        ValueError: for an unknown option.
    """

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        sweeps: Literal["same", "ego", "flow"] = "same",
        ranges: TransformRanges = DEFAULT_RANGES,
        points: ContrastConfig = DEFAULT_POINTS,
    ) -> None:
        super().__init__(encoder)
        if sweeps not in ("same", "ego", "flow"):
            raise ValueError(f"expected sweeps 'same', 'ego' or 'flow', got {sweeps!r}")
        self.sweeps, self.ranges, self.points = sweeps, ranges, points
        self.encoder.freeze_after(points.stage)
        self.projector = SiteHead(self.encoder.channels[points.stage], points.projector)

    @property
    def label(self) -> str:
        return {"same": "PointContrast", "ego": "BEVContrast"}.get(self.sweeps, type(self).__name__)

    def step(self, batch: ScenePair) -> StepOutput:
        first, second = (draw_transforms(self.ranges, batch.seeds, view) for view in (0, 1))
        a = self.encode(first.apply(batch.current if self.sweeps == "same" else batch.previous))
        b = self.encode(second.apply(batch.current))
        sites = point_sites(a, self.points.stage), self._partners(b, batch, second)
        loss, terms = site_contrast(self.projector, self.points, (a, b), sites, item_seeds(batch, 0))
        return StepOutput(loss, terms, stack_features([self.pooled(a), self.pooled(b)]))

    def _partners(self, b: SweepFeatures, batch: ScenePair, transform: SweepTransform) -> tuple[Tensor, ...]:
        """Positions of the first view's points in the second one."""
        if self.sweeps == "same":
            return point_sites(b, self.points.stage)
        moved = [
            transform_cloud(cloud, matrix) for cloud, matrix in zip(self._moved(batch), transform.matrix, strict=True)
        ]
        return sites_at(self.encoder, b.stage(self.points.stage), moved)

    def _moved(self, batch: ScenePair) -> list[Tensor]:
        """Points of the earlier sweep at the time, and in the frame, of the later one."""
        if self.sweeps == "flow":
            if batch.flow is None:
                raise ValueError("expected scene flow with every pair, got none: choose a flow provider for the data")
            return [cloud[:, :3] + flow for cloud, flow in zip(batch.previous, batch.flow, strict=True)]
        if batch.motion is None:
            raise ValueError("expected poses, which match the two sweeps, got pairs without")
        return [transform_points(m, cloud[:, :3]) for m, cloud in zip(batch.motion, batch.previous, strict=True)]
