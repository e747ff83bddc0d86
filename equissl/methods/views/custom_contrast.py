"""Multilevel contrast of subjects: after CustomContrast, Chen et al. 2024 (arXiv 2409.05606).

The paper learns what a subject is, for text-to-image generation, by contrast of whole subjects and of every level of
their features. Of it there is here the contrast of images: views of an object in other poses, on other floors, under
other lights. The generation of images, its text side and its fusion are left out. The form of the loss is a
reconstruction (:mod:`equissl.losses.multilevel`); the stages of an image encoder as levels, and a momentum teacher as
the reference of similarity, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders import Projector
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.losses import multilevel_nce, unit_norm
from equissl.methods.base import StepOutput, detach_terms, gather_together, stack_features
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.teacher import Teacher


class CustomContrast(ViewMethod):
    """InfoNCE of the subject as a whole, and of every stage of the encoder with similarity-weighted negatives.

    The subject part is the embedding of the whole, which an evaluation knows as ``embedding``.

    Args:
        encoder: image encoder, with stages unless ``stages`` is empty.
        projector: sizes of the whole's projector; the last is that of the subject part.
        stages: stages to contrast, from 0; the last one is the whole's. None takes all the others. Empty, with one
            InfoNCE left, is the plain contrast to compare with.
        stage_projector: sizes of the projector of each stage.
        whole: weight of the whole.
        level: weight of all stages together.
        temperature: divides the cosine similarities.
        reference: ``teacher`` weights negatives by the cosine of a momentum teacher's embeddings of the whole, mean
            over views; ``none`` weights all alike.
        momentum: of the teacher, at the first and at the last step.
        views: views of each subject in a batch.

    Raises:
        ValueError: for stages that the encoder does not have, an unknown reference, or fewer than 2 views.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        projector: Sequence[int] = (2048, 2048, 256),
        stages: Sequence[int] | None = None,
        stage_projector: Sequence[int] = (256, 256),
        whole: float = 1.0,
        level: float = 1.0,
        temperature: float = 0.1,
        reference: Literal["teacher", "none"] = "teacher",
        momentum: tuple[float, float] = (0.996, 1.0),
        views: int = 2,
    ) -> None:
        super().__init__(encoder)
        if views < 2 or reference not in ("teacher", "none"):
            got = f"{views} and {reference!r}"
            raise ValueError(f"expected at least 2 views and a reference 'teacher' or 'none', got {got}")
        channels = self.encoder.stage_channels()
        self.stages = list(range(len(channels) - 1)) if stages is None else list(stages)
        if wrong := [stage for stage in self.stages if not 0 <= stage < len(channels) - 1]:
            held = f"{len(channels)} stages, the last of them the whole's"
            raise ValueError(f"expected stages of an encoder of {held}, got {wrong}")
        self.projector = Projector(self.feature_dim, projector)
        self.stage_projectors = nn.ModuleList(Projector(channels[stage], stage_projector) for stage in self.stages)
        self.weights = [whole, *[level / len(self.stages) for _ in self.stages]]
        self.temperature, self.views = temperature, views
        self.teacher: Teacher | None = None
        if reference == "teacher" and self.stages:
            self.teacher = Teacher(momentum, encoder=self.encoder, projector=self.projector)

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        encoded = [self.encode(self.normalise(batch.images[:, view])) for view in range(self.views)]
        vectors = [vector for vector, _ in encoded]
        embedded = [[self.projector(vector) for vector in vectors]]
        for place, projector in enumerate(self.stage_projectors):
            embedded.append([projector(stages[place]) for _, stages in encoded])
        together = gather_together(*(z for level in embedded for z in level), *self._taught(batch))
        split = [torch.stack(together[i : i + self.views], dim=1) for i in range(0, len(together), self.views)]
        whole, levels = split[0], split[1 : len(embedded)]
        similarity = _similarity(split[-1]) if self.teacher is not None else None
        loss = multilevel_nce(whole, levels, self.weights, self.temperature, similarity)
        return StepOutput(loss, detach_terms(multilevel_nce=loss), stack_features(vectors))

    def after_step(self, step: int, last_step: int) -> None:
        if self.teacher is not None:
            self.teacher.update(step, last_step, encoder=self.encoder, projector=self.projector)

    def embedding(self, parts: dict[str, Tensor]) -> Tensor:
        return self.projector(parts["all"])

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode normalised images to the vector of the whole (N, D), and that of each contrasted stage (N, D_l)."""
        if not self.stages:
            return self.encoder(images), []
        vectors, maps = self.encoder.encode_stages(images)
        return vectors, [maps[stage].mean(dim=(2, 3)) for stage in self.stages]

    @torch.no_grad()
    def _taught(self, batch: ViewBatch) -> list[Tensor]:
        """The teacher's embedding of the whole of each view; none without a teacher."""
        if self.teacher is None:
            return []
        encoder, projector = self.teacher["encoder"], self.teacher["projector"]
        return [projector(encoder(self.normalise(batch.images[:, view]))) for view in range(self.views)]


def _similarity(taught: Tensor) -> Tensor:
    """(B, B) cosine of the mean directions (B, V, D) of each two subjects."""
    mean = unit_norm(unit_norm(taught).mean(dim=1))
    return mean @ mean.T
