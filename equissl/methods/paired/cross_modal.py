"""Contrast of modalities: CLIP, and CLIP with a further objective of the same pairs.

CLIP: Radford et al. 2021 (arXiv 2103.00020). With ``extra``, the improved baselines of Fini et al. 2023 (arXiv
2305.08675): SiamLIP (``simsiam``), BYOLIP (``byol``), BarLIP (``barlow_twins``) and SwALIP (``swav``), or any other
objective. Theirs: a clean and n = 2 augmented embeddings of image and text, ``(CLIP of the clean pair + n × mean CLIP
of all augmented pairs) / (1 + n)``, label smoothing of the augmented pairs alone, and the further objective on all
pairs. Ours: clouds as a third modality, with losses averaged over pairs of modalities, one predictor or set of
prototypes for all modalities, and any objective by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import torch
from torch import Tensor, nn

from equissl.datasets.paired.batch import PairedBatch
from equissl.encoders.cloud.config import CloudEncoderConfig
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.losses import LogitScale, clip
from equissl.methods.base import StepOutput, detach_terms, widen
from equissl.methods.paired.base import PairedMethod, gather_modalities
from equissl.methods.views.teacher import Teacher
from equissl.objectives import Embedded, Objective, ObjectiveConfig

PUBLISHED = {"simsiam": "SiamLIP", "byol": "BYOLIP", "barlow_twins": "BarLIP", "swav": "SwALIP"}
HEAD = "projector_"  # before the modality, in names of the teacher's networks


class CrossModal(PairedMethod):
    """CLIP of images, clouds and words, and a further objective of the same pairs where one is named.

    The first image, cloud and text of an object are its clean ones. Further ones are augmented, or other views, and are
    contrasted beside them.

    Args:
        encoder, cloud, text, projector: see `PairedMethod`.
        temperature: initial value of the learned one.
        extra: objective of each pair of modalities; None is CLIP alone.
        weight: of ``extra``.
        smoothing: label smoothing of the augmented pairs.
        views, clouds, texts: of each object in a batch.

    Raises:
        ValueError: for images alone, no items, a weight below 0, a smoothing outside [0, 1), or an objective that is
            unknown, is not defined for pairs, or compares predictions of actions.
    """

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        cloud: CloudEncoderConfig | None = None,
        text: TextEncoderConfig | None = None,
        projector: Sequence[int] = (512, 256),
        temperature: float = 0.07,
        extra: ObjectiveConfig | None = None,
        weight: float = 1.0,
        smoothing: float = 0.0,
        views: int = 1,
        clouds: int = 1,
        texts: int = 1,
    ) -> None:
        super().__init__(encoder, cloud, text, projector, views, clouds, texts)
        if weight < 0 or not 0 <= smoothing < 1:
            raise ValueError(f"expected weight of at least 0 and smoothing in [0, 1), got {weight} and {smoothing}")
        self.temperature, self.smoothing, self.weight = LogitScale(temperature), smoothing, weight
        self.extra_name = None if extra is None else extra.name
        self.objective = None if extra is None else pair_objective(extra, projector[-1])
        self.teacher: Teacher | None = None
        if self.objective is not None and "teacher" in self.objective.needs:
            self.teacher = Teacher(self.objective.momentum, **self.networks())

    @property
    def label(self) -> str:
        return "CLIP" if self.extra_name is None else PUBLISHED.get(self.extra_name, f"CLIP and {self.extra_name}")

    def step(self, batch: PairedBatch) -> StepOutput:
        found = self.represent(batch)
        z = gather_modalities(self.project(found))
        loss, terms = self.contrast(z)
        if self.objective is not None:
            extra, more = self.extra(z, self.teach(batch))
            loss, terms = loss + self.weight * extra, {**terms, **more}
        return StepOutput(loss, terms, widen(found["image"].detach()))

    def contrast(self, z: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the contrast of clean and of augmented pairs, and its terms.

        Args:
            z: (B, K, E) global embeddings of each modality.
        """
        temperature = self.temperature()
        clean = clip(torch.stack([of[:, 0] for of in z.values()], dim=1), temperature)
        terms = detach_terms(clip=clean, temperature=temperature)
        count = max(of.shape[1] for of in z.values()) - 1
        if not count:
            return clean, terms
        augmented = torch.stack([clip(pair, temperature, self.smoothing) for pair in augmented_pairs(z)]).mean()
        return (clean + count * augmented) / (1 + count), terms | detach_terms(clip_augmented=augmented)

    def extra(self, z: dict[str, Tensor], taught: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean of the further objective over clean and augmented pairs, and its terms.

        Args:
            z: (B, K, E) global embeddings of each modality.
            taught: the teacher's, for an objective that needs them.
        """
        assert self.objective is not None
        pairs = [*clean_pairs(z), *augmented_pairs(z)]
        targets = [None] * len(pairs) if taught is None else [*clean_pairs(taught), *augmented_pairs(taught)]
        found = [self.objective(Embedded(*each)) for each in zip(pairs, targets, strict=True)]
        terms = {name: torch.stack([term[name] for _, term in found]).mean() for name in found[0][1]}
        return widen(torch.stack([loss for loss, _ in found]).mean()), terms

    @torch.no_grad()
    def teach(self, batch: PairedBatch) -> dict[str, Tensor] | None:
        """Compute the teacher's global embeddings (B, K, E) of each modality; None without one."""
        if self.teacher is None:
            return None
        encoders, projectors = ({name: self.teacher[kind + name] for name in self.modalities} for kind in ("", HEAD))
        return gather_modalities(self.project(self.represent(batch, encoders), projectors))

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that a teacher follows, by name."""
        return self.encoders() | {HEAD + name: projector for name, projector in self.projectors.items()}

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        if self.teacher is not None:
            self.teacher.update(step, last_step, **self.networks())


def pair_objective(config: ObjectiveConfig, dim: int) -> Objective:
    """Build the objective of pairs of modalities.

    Args:
        config: name and options.
        dim: width of the embeddings.

    Raises:
        ValueError: for an unknown objective, one that is not defined for pairs or needs more than embeddings and a
            teacher.
    """
    objective = config.build(dim)
    objective.check_views(config.name, 2)
    if objective.for_predictions or objective.needs - {"teacher"}:
        raise ValueError(f"expected an objective of two embeddings of an object, got {config.name!r}")
    return objective


def clean_pairs(z: dict[str, Tensor]) -> list[Tensor]:
    """Pair the first items of each two modalities: (B, 2, E) each.

    Args:
        z: (B, K, E) embeddings of each modality.
    """
    return [torch.stack([x[:, 0], y[:, 0]], dim=1) for x, y in combinations(z.values(), 2)]


def augmented_pairs(z: dict[str, Tensor]) -> list[Tensor]:
    """Pair the further items of each two modalities, each with each: (B, 2, E) each.

    A modality that has one item alone pairs it with the others' further items; nothing where both have one.

    Args:
        z: (B, K, E) embeddings of each modality.
    """
    found = []
    for x, y in combinations(z.values(), 2):
        if x.shape[1] == y.shape[1] == 1:
            continue
        items = [range(1, of.shape[1]) if of.shape[1] > 1 else range(1) for of in (x, y)]
        found += [torch.stack([x[:, i], y[:, j]], dim=1) for i, j in product(*items)]
    return found
