"""M3CoL: mixtures of one modality contrasted with both partners in the other, beside classification (arXiv 2409.17777).

Kumar et al. 2024. Theirs: images are mixed as inputs, a random half of a batch with shares from Beta(0.15, 0.15);
either modality is mixed in turn, three in a cycle; after a third of training soft CLIP takes the place of the mixtures;
the contrast weighs 0.1 beside the cross-entropies of a classifier of each modality and of one of their fusion. Ours:
texts and clouds are mixed as representations (the release mixes the embeddings of words), and the fusion is a network
of the joined embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.datasets.paired.batch import PairedBatch
from equissl.encoders.cloud.config import CloudEncoderConfig
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.losses import gather, own_rows, world_size
from equissl.losses.m3col import draw_mixing, mix_partners, mixup_contrast, soft_clip
from equissl.methods.base import StepOutput, detach_terms, gather_together, widen
from equissl.methods.paired.base import PairedMethod
from equissl.methods.views.labels import LabelCheck


class M3CoL(PairedMethod):
    """Classifiers of each modality and of their fusion, and a contrast of mixtures between modalities.

    Mixtures are of the samples of one process.

    Args:
        encoder, cloud, text, projector: see `PairedMethod`.
        num_classes: classes of the data; 55 in 3DIEBench.
        fusion: width of the hidden layer of the fusion's classifier.
        weight: of the contrast; 0 leaves it out.
        concentration: of the Beta distribution of shares.
        mixed: chance that a sample is mixed.
        mixing: share of the run in which mixtures are contrasted; `soft_clip` follows.
        temperature: of the contrast of mixtures.
        soft_temperature: of `soft_clip`.

    Raises:
        ValueError: for images alone, fewer than two classes, a negative weight, or a share outside [0, 1].
    """

    num_classes: int
    progress: Tensor

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        cloud: CloudEncoderConfig | None = None,
        text: TextEncoderConfig | None = None,
        projector: Sequence[int] = (512, 256),
        num_classes: int = 55,
        fusion: int = 256,
        weight: float = 0.1,
        concentration: float = 0.15,
        mixed: float = 0.5,
        mixing: float = 0.33,
        temperature: float = 0.1,
        soft_temperature: float = 0.125,
    ) -> None:
        super().__init__(encoder, cloud, text, projector)
        if num_classes < 2 or fusion < 1 or weight < 0 or not 0 <= mixing <= 1 or not 0 <= mixed <= 1:
            raise ValueError(
                "expected at least 2 num_classes, fusion of at least 1, weight of at least 0, mixed and mixing in "
                f"[0, 1], got {num_classes}, {fusion}, {weight}, {mixed} and {mixing}"
            )
        self.num_classes, self.weight, self.mixing = num_classes, weight, mixing
        self.concentration, self.mixed = concentration, mixed
        self.temperature, self.soft_temperature = temperature, soft_temperature
        width = projector[-1]
        self.classifiers = nn.ModuleDict({name: nn.Linear(width, num_classes) for name in self.modalities})
        joined = width * len(self.modalities)
        self.fusion = nn.Sequential(nn.Linear(joined, fusion), nn.ReLU(), nn.Linear(fusion, num_classes))
        self.register_buffer("progress", torch.zeros(()))
        self._check_labels = LabelCheck(num_classes)

    @property
    def reads_labels(self) -> bool:
        return True

    def step(self, batch: PairedBatch) -> StepOutput:
        self._check_labels(batch.labels)
        found = self.represent(batch)
        z = {name: of[:, 0] for name, of in self.project(found).items()}
        logits = {**{name: self.classifiers[name](of) for name, of in z.items()}, "fusion": self.fuse(z)}
        labels = gather(batch.labels)
        errors = dict(zip(logits, gather_together(*logits.values()), strict=True))
        classification = torch.stack([F.cross_entropy(of, labels) for of in errors.values()]).sum()
        terms = detach_terms(classification=classification)
        if not self.weight:
            return StepOutput(classification, terms, widen(found["image"].detach()))
        contrast = self.mixtures(batch, found, z) if float(self.progress) < self.mixing else self.soft(z)
        loss = classification + self.weight * contrast
        return StepOutput(loss, {**terms, **detach_terms(contrast=contrast)}, widen(found["image"].detach()))

    def fuse(self, z: dict[str, Tensor]) -> Tensor:
        """Compute the logits (B, C) of the fusion of embeddings (B, E) of each modality."""
        return self.fusion(torch.cat(list(z.values()), dim=1))

    def mixtures(self, batch: PairedBatch, found: dict[str, Tensor], z: dict[str, Tensor]) -> Tensor:
        """Compute the contrast of each modality's mixtures with the next one's samples, summed over a cycle.

        Args:
            batch: of this process.
            found: (B, 1, D) representations.
            z: (B, E) embeddings.
        """
        names = list(z)
        losses = []
        for mixed, other in zip(names, names[1:] + names[:1], strict=True):
            partners, shares = self.draw(len(batch), batch.labels.device)
            x = self.mix(mixed, batch, found, partners, shares)
            start = torch.arange(world_size(), device=partners.device).repeat_interleave(len(partners)) * len(partners)
            everyone, of_all = gather(partners) + start, gather(shares)
            first, second = gather_together(x, z[other])
            losses.append(mixup_contrast(first, second, everyone, of_all, self.temperature))
        return torch.stack(losses).sum()

    def draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw partners among the samples of this process, and shares; other processes draw others.

        Args:
            count: samples of this process.
            device: of the results.
        """
        found = [draw_mixing(count, self.concentration, self.mixed) for _ in range(world_size())]
        partners, shares = (own_rows(torch.cat(of)) for of in zip(*found, strict=True))
        return partners.to(device), shares.to(device)

    def mix(
        self, modality: str, batch: PairedBatch, found: dict[str, Tensor], partners: Tensor, shares: Tensor
    ) -> Tensor:
        """Embed the mixtures (B, E) of a modality: of images as inputs, of others as representations.

        Args:
            modality: one of `modalities`.
            batch: of this process.
            found: (B, 1, D) representations.
            partners, shares: (B,) of each mixture.
        """
        if modality == "image":
            mixed = self.encoder(mix_partners(self.inputs("image", batch)[0][:, 0], partners, shares))
        else:
            mixed = mix_partners(found[modality][:, 0], partners, shares)
        return self.projectors[modality](self.read(modality)(mixed))

    def soft(self, z: dict[str, Tensor]) -> Tensor:
        """Compute soft CLIP of each two modalities, with either as the target, averaged over both and summed.

        Args:
            z: (B, E) embeddings.
        """
        together = gather_together(*z.values())
        pairs = list(combinations(together, 2))
        both = [soft_clip(x, y, self.soft_temperature) + soft_clip(y, x, self.soft_temperature) for x, y in pairs]
        return torch.stack(both).sum() / 2

    def class_logits(self, parts: dict[str, Tensor]) -> Tensor:
        return self.classifiers["image"](self.embedding(parts))

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        self.progress.fill_((step + 1) / max(last_step, 1))
