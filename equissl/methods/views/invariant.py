"""Any invariant objective on any number of views of an object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.methods.base import StepOutput, stack_features, widen
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.crops import small_views
from equissl.methods.views.embedding import embed_together
from equissl.methods.views.teacher import Teacher
from equissl.objectives import Objective, ObjectiveConfig

NT_XENT = ObjectiveConfig("nt_xent")


# names that papers give to an objective without a predictor of actions
PUBLISHED = {
    "barlow_twins": "Barlow Twins",
    "byol": "BYOL",
    "hallucinator": "Hallucinator",
    "moco": "MoCo",
    "simsiam": "SimSiam",
    "swav": "SwAV",
}


class Invariant(ViewMethod):
    """One embedding of every view; the objective says how they should lie.

    Args:
        encoder: image encoder.
        projector: sizes of the projector's layers.
        objective: name and options, see :data:`equissl.objectives.OBJECTIVES`.
        views: views of each object in a batch.
        small_crops: further small views (multi-crop): those that the batch brings, which are cut out of the images
            themselves, or else cut out of its views; objectives that know of them (``swav``, ``byol`` and ``groco``)
            use them as anchors only.
        small_size: side of the small crops in pixels.
        small_scale: their share of a view's area.

    Raises:
        ValueError: for an unknown objective or option, or a number of views it is not defined for.
    """

    objective: Objective

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 2048),
        objective: ObjectiveConfig = NT_XENT,
        views: int = 2,
        small_crops: int = 0,
        small_size: int = 96,
        small_scale: tuple[float, float] = (0.05, 0.14),
    ) -> None:
        super().__init__(encoder)
        self.projector = Projector(self.feature_dim, projector)
        self.objective = objective.build(self.projector.out_dim)
        self.objective.check_views(objective.name, views, small_crops)
        if self.objective.for_predictions:
            raise ValueError(f"objective {objective.name!r} compares predictions with targets: it needs a predictor")
        self.objective_name = objective.name
        self.views, self.small_crops = views, small_crops
        self.small_size, self.small_scale = small_size, small_scale
        self.teacher: Teacher | None = None
        if "teacher" in self.objective.needs:
            self.teacher = Teacher(self.objective.momentum, encoder=self.encoder, projector=self.projector)

    @property
    def label(self) -> str:
        name, inner = PUBLISHED.get(self.objective_name, self.objective_name), self.objective.wraps
        return name if inner is None else f"{name} of {PUBLISHED.get(inner, inner)}"

    def step(self, batch: ViewBatch) -> StepOutput:
        views = self.view_features(batch)
        z = [self.projector(view) for view in views + self._small_features(batch)]
        embedded = embed_together(z, batch, self.objective.needs, self._taught(batch))
        loss, terms = self.objective(embedded)
        return StepOutput(widen(loss), terms, stack_features(views))

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        if self.teacher is not None:
            self.teacher.update(step, last_step, encoder=self.encoder, projector=self.projector)

    @torch.no_grad()
    def _taught(self, batch: ViewBatch) -> list[Tensor]:
        """The teacher's embedding of each large view."""
        if self.teacher is None:
            return []
        encoder, projector = self.teacher["encoder"], self.teacher["projector"]
        return [projector(encoder(self.normalise(batch.images[:, view]))) for view in range(self.views)]

    def _small_features(self, batch: ViewBatch) -> list[Tensor]:
        """Representations of small crops."""
        size, scale, views = self.small_size, self.small_scale, range(self.views)
        return [self.encoder(x) for x in small_views(batch, self.small_crops, size, scale, self.normalise, views)]
