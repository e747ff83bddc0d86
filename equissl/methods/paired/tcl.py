"""TCL: alignment across modalities, contrast within each, and of the whole with its parts (arXiv 2202.10401).

Yang et al., CVPR 2022. Theirs: the six terms, a momentum teacher that moves before its forward pass, queues of its
keys, soft targets from it whose share rises from 0, a learned temperature within bounds, parts projected as the whole
is. Left out: matching and masked language modelling, which need a network that fuses the modalities. Ours: any encoder
of images whose map has the representation's channels, the second text of an object as the teacher's where there are
two, and negatives of `lmi` from the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from equissl.datasets.paired.batch import PairedBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.encoders.text.config import TextEncoderConfig
from equissl.losses import FeatureQueue, LogitScale, gather, unit_norm
from equissl.losses.tcl import cma, imc, lmi, pool_parts
from equissl.methods.base import StepOutput, detach_terms, gather_together, widen
from equissl.methods.paired.base import PairedMethod, each
from equissl.methods.views.teacher import Teacher

HEAD = "projector_"  # before the modality, in names of the teacher's networks
WARMEST = 0.5  # temperature, at most; at least 0.001
TEXT = TextEncoderConfig()


class TCL(PairedMethod):
    """Images and texts by three contrasts, whose keys come from a teacher that sees another view.

    Args:
        encoder: of images.
        text: of texts.
        projector: sizes of the layers of each modality's projector; one linear layer in the paper.
        queue: past keys of each modality that serve as negatives.
        temperature: initial value of the learned one.
        alpha: share of the teacher's own softmax in the targets of the alignment.
        ramp: steps in which that share rises from 0; those of the first pass in the paper.
        side: parts of an image are the places of its map, averaged to side × side; fewer where the map is smaller.
        momentum: of the teacher, at the first and at the last step.
        texts: of each object in a batch, 1 or 2; the teacher reads the last.

    Raises:
        ValueError: for more texts, an alpha outside [0, 1], a negative ramp, no side, or an encoder whose map has other
            channels than its representation.
    """

    steps_taken: Tensor

    def __init__(
        self,
        encoder: EncoderConfig = DEFAULT_ENCODER,
        text: TextEncoderConfig = TEXT,
        projector: Sequence[int] = (256,),
        queue: int = 65536,
        temperature: float = 0.07,
        alpha: float = 0.4,
        ramp: int = 100,
        side: int = 4,
        momentum: tuple[float, float] = (0.995, 0.995),
        texts: int = 1,
    ) -> None:
        super().__init__(encoder, None, text, projector, views=2, texts=texts)
        if texts > 2 or not 0 <= alpha <= 1 or ramp < 0 or side < 1:
            raise ValueError(
                "expected 1 or 2 texts, alpha in [0, 1], ramp of at least 0 and side of at least 1, got "
                f"{texts}, {alpha}, {ramp} and {side}"
            )
        self.alpha, self.ramp, self.side = alpha, ramp, side
        self.temperature = LogitScale(temperature, limit=1000.0, least=1 / WARMEST)
        self.queues = torch.nn.ModuleDict({name: FeatureQueue(queue, projector[-1]) for name in self.modalities})
        self.teacher = Teacher(momentum, **self.networks())
        self.register_buffer("steps_taken", torch.zeros((), dtype=torch.long))

    def step(self, batch: PairedBatch) -> StepOutput:
        images, texts = self.inputs("image", batch)[0], self.inputs("text", batch)
        found = self.encoder(images[:, 0])
        online = self.projectors["image"](found), self.projectors["text"](self.text(*(x[:, 0] for x in texts)))  # type: ignore[misc]
        keys, parts, mask = self.teach(images[:, 1], *(x[:, -1] for x in texts))
        image, text, image_key, text_key, *local = gather_together(*online, *keys, *(part.flatten(1) for part in parts))
        patches, words = (x.unflatten(1, part.shape[1:]) for x, part in zip(local, parts, strict=True))
        loss, terms = self.contrast((image, text), (image_key, text_key), patches, words, gather(mask))
        if self.training:
            for name, key in zip(self.modalities, (image_key, text_key), strict=True):
                cast(FeatureQueue, self.queues[name]).enqueue(unit_norm(key))
        return StepOutput(loss, terms, widen(found.detach()[:, None]))

    def contrast(
        self, online: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor], patches: Tensor, words: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the mean of the six terms, and the three pairs of them.

        Args:
            online: (B, E) global embeddings of images and of texts.
            keys: (B, E) of the teacher.
            patches: (B, I, E) parts of images.
            words: (B, L, E) parts of texts.
            mask: (B, L), True for words that are there.
        """
        temperature = self.temperature()
        (image, text), (image_key, text_key) = online, keys
        image_queue, text_queue = (self.queues[name]() for name in self.modalities)
        across = cma(image, text, image_key, text_key, image_queue, text_queue, temperature, self.share())
        within = imc(image, text, image_key, text_key, image_queue, text_queue, temperature)
        local = (lmi(image, patches, None, temperature) + lmi(text, words, mask, temperature)) / 2
        terms = detach_terms(alignment=across, within=within, local=local, temperature=temperature)
        return (across + within + local) / 3, terms

    def share(self) -> float:
        """Return the teacher's share in the targets at this step."""
        return self.alpha if not self.ramp else self.alpha * min(1.0, int(self.steps_taken) / self.ramp)

    @torch.no_grad()
    def teach(self, images: Tensor, tokens: Tensor, lengths: Tensor) -> tuple[Any, Any, Tensor]:
        """Compute the teacher's keys and parts of both modalities, and which words are there.

        Args:
            images: (B, 3, H, W) normalised.
            tokens: (B, L).
            lengths: (B,).

        Returns:
            keys (B, E) of images and texts, parts (B, I, E) and (B, L - 1, E), and the mask (B, L - 1) of words: the
            token that starts a text is no part.
        """
        encoder, text = cast(Any, self.teacher["encoder"]), cast(Any, self.teacher["text"])
        head, text_head = self.teacher[f"{HEAD}image"], self.teacher[f"{HEAD}text"]
        found = encoder.feature_map(images)
        states, mask = text.dense(tokens, lengths)
        keys = head(encoder.pool(found)), text_head(text.pool(states, mask))
        patches = each(head, found.flatten(2).mT)
        grid = (found.shape[2], found.shape[3])
        parts = pool_parts(patches, grid, min(self.side, *grid)), unit_norm(each(text_head, states[:, 1:]))
        return keys, parts, mask[:, 1:]

    def networks(self) -> dict[str, torch.nn.Module]:
        """Return the networks that the teacher follows, by name."""
        heads = {HEAD + name: projector for name, projector in self.projectors.items()}
        return {"encoder": self.encoder, "text": cast(torch.nn.Module, self.text), **heads}

    def after_step(self, step: int, last_step: int) -> None:
        super().after_step(step, last_step)
        self.teacher.update(step, last_step, **self.networks())
        self.steps_taken += 1
