"""Any invariant objective on sweeps; DepthContrast (Zhang et al., 2021) and STRL (Huang et al., 2021) by options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from equissl.encoders import Projector
from equissl.encoders.voxel import VoxelEncoder, VoxelEncoderConfig
from equissl.geometry.sweep_transforms import TransformRanges, draw_transforms
from equissl.methods.base import StepOutput, gather_together, stack_features, widen
from equissl.methods.drives.base import DEFAULT_VOXELS, DriveMethod, item_seeds
from equissl.methods.drives.cropping import drop_points, random_cuboid
from equissl.methods.views.teacher import Teacher
from equissl.objectives import Embedded, Objective, ObjectiveConfig

if TYPE_CHECKING:
    from equissl.datasets.drives.pairs.batch import ScenePair

DEFAULT_RANGES = TransformRanges()
BYOL = ObjectiveConfig("byol", {"hidden": 512})


# names that papers give to an objective on these views
PUBLISHED = {("byol", "pair"): "STRL", ("moco", "same"): "DepthContrast"}


class SweepInvariant(DriveMethod):
    """Invariant objective on one embedding of each view of a sweep.

    Args:
        encoder: encoder of the clouds.
        objective: name and options, see :data:`equissl.objectives.OBJECTIVES`; ``moco`` in DepthContrast, ``byol`` in
            STRL.
        projector: sizes of the projector's layers.
        sweeps: ``pair``: one view of each of the two sweeps (STRL); ``same``: two views of the later one
            (DepthContrast).
        ranges: ranges of the transformations of each view.
        cuboid: each view keeps a box with between this share and all of the sweep's extent along x and y, about one of
            its points; 1 keeps everything. DepthContrast takes 0.5.
        drop: up to this share of the points of each view is left out.

    Raises:
        ValueError: for an unknown objective or option, or an objective that needs more than sweeps and a teacher.
    """

    objective: Objective

    def __init__(
        self,
        encoder: VoxelEncoderConfig = DEFAULT_VOXELS,
        objective: ObjectiveConfig = BYOL,
        projector: Sequence[int] = (512, 128),
        sweeps: Literal["same", "pair"] = "pair",
        ranges: TransformRanges = DEFAULT_RANGES,
        cuboid: float = 1.0,
        drop: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        if sweeps not in ("same", "pair"):
            raise ValueError(f"expected sweeps 'same' or 'pair', got {sweeps!r}")
        if not 0 < cuboid <= 1 or not 0 <= drop < 1:
            raise ValueError(f"expected a cuboid in (0, 1] and a drop in [0, 1), got {cuboid} and {drop}")
        self.sweeps, self.ranges, self.cuboid, self.drop = sweeps, ranges, cuboid, drop
        self.projector = Projector(self.feature_dim, projector)
        self.objective = objective.build(self.projector.out_dim)
        self.objective.check_views(objective.name, 2)
        self.objective_name = objective.name
        if self.objective.for_predictions or (unknown := sorted(self.objective.needs - {"teacher"})):
            needs = "a predictor" if self.objective.for_predictions else ", ".join(unknown)
            raise ValueError(f"objective {objective.name!r} needs {needs}, which sweeps do not have")
        self.teacher: Teacher | None = None
        if "teacher" in self.objective.needs:
            self.teacher = Teacher(self.objective.momentum, encoder=self.encoder, projector=self.projector)

    @property
    def label(self) -> str:
        plain = f"{type(self).__name__} {self.objective_name}, {self.sweeps}"
        return PUBLISHED.get((self.objective_name, self.sweeps), plain)

    def step(self, batch: ScenePair) -> StepOutput:
        clouds = [self._view(batch, number) for number in (0, 1)]
        views = [self.pooled(self.encode(view)) for view in clouds]
        loss, terms = self.objective(self._embed(views, self._taught(clouds)))
        return StepOutput(widen(loss), terms, stack_features(views))

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        if self.teacher is not None:
            self.teacher.update(step, last_step, encoder=self.encoder, projector=self.projector)

    def _view(self, batch: ScenePair, number: int) -> tuple[Tensor, ...]:
        clouds = batch.previous if self.sweeps == "pair" and number == 0 else batch.current
        clouds = draw_transforms(self.ranges, batch.seeds, number).apply(clouds)
        seeds = item_seeds(batch, number)
        if self.cuboid < 1:
            clouds = tuple(random_cuboid(cloud, self.cuboid, seed) for cloud, seed in zip(clouds, seeds, strict=True))
        if self.drop > 0:
            clouds = tuple(drop_points(cloud, self.drop, seed) for cloud, seed in zip(clouds, seeds, strict=True))
        return clouds

    def _embed(self, views: list[Tensor], taught: list[Tensor]) -> Embedded:
        """The global batch of embeddings."""
        together = gather_together(*(self.projector(view) for view in views), *taught)
        teacher = torch.stack(together[2:], dim=1) if taught else None
        return Embedded(torch.stack(together[:2], dim=1), teacher=teacher)

    @torch.no_grad()
    def _taught(self, clouds: list[tuple[Tensor, ...]]) -> list[Tensor]:
        """The teacher's embedding of each view."""
        if self.teacher is None:
            return []
        encoder, projector = self.teacher["encoder"], self.teacher["projector"]
        assert isinstance(encoder, VoxelEncoder)
        return [projector(widen(encoder.pool(encoder(view).bev))) for view in clouds]
