"""MixedAE: a masked autoencoder whose input is mixed of several images (Chen et al. 2023, arXiv 2303.17152)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.losses import all_reduce_mean, own_rows, token_supcon, world_size
from equissl.methods.base import StepOutput, detach_terms, stack_features
from equissl.methods.views.mae import MAE, VIT
from equissl.methods.views.masked_pixels import hidden_error


class MixedAE(MAE):
    """Patches of a group of images in one input; every patch is to recognise those of its own image, its homologues.

    The paper's: mixing in groups, homologous attention (each query sees its nearest keys alone), segment embedding,
    homologous contrast (`token_supcon` of the encoder's tokens) and MAE's reconstruction of every source, at 3 % more
    than MAE's cost. Reconstructed: temperature and weight of the contrast, and as many keys as a source has patches on
    average. The permutation of the group at every position, and segments that are added before mixing, are those of a
    third-party implementation; official code was not found. Ours: which blocks attend so (the last half), that one
    mixture of the ``group`` possible ones is encoded (as many tokens as MAE encodes with a mask of 1 − 1/group, which
    the paper's cost suggests; the third party encodes all), that each mixture decodes all its sources, segments that
    add up to zero, so that whole images downstream need none, and that the encoder attends to everything downstream.

    *Naive mixing*, the paper's control, is ``homologous: 0, segments: false, contrast: 0``.

    Args:
        encoder: a vision transformer of timm; options ``img_size`` and ``patch_size`` fit it to small images.
        group: images that are mixed, consecutive ones of a batch; 4 hides as much of each as MAE does.
        mixtures: mixed images of each group that are encoded, 1 to ``group``.
        homologous: number of last blocks with homologous attention; None: half of them.
        segments: add a learned vector for the place of an image in its group to its tokens.
        contrast: weight of the homologous contrast; 0 leaves it out.
        temperature: of the contrast; divides the cosine similarities.
        decoder_width: size of the decoder's tokens.
        decoder_depth: its blocks.
        decoder_heads: heads of each.
        normalise_patches: normalise each target patch by its own statistics.
        views: views of each object in a batch, each an image of its own; 1 is enough.

    Raises:
        ValueError: for another encoder, a group, number of mixtures or of blocks that is not possible, or a negative
            weight.
    """

    def __init__(
        self,
        encoder: EncoderConfig = VIT,
        group: int = 4,
        mixtures: int = 1,
        homologous: int | None = None,
        segments: bool = True,
        contrast: float = 0.1,
        temperature: float = 0.25,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        normalise_patches: bool = True,
        views: int = 1,
    ) -> None:
        if group < 2 or not 1 <= mixtures <= group or contrast < 0:
            raise ValueError(
                "expected a group of at least 2 images, mixtures from 1 to group and contrast of at least 0, got "
                f"{group}, {mixtures} and {contrast}"
            )
        super().__init__(encoder, 1 - 1 / group, decoder_width, decoder_depth, decoder_heads, normalise_patches, views)
        blocks = len(self.transformer.model.blocks)
        self.homologous = blocks // 2 if homologous is None else homologous
        if not 0 <= self.homologous <= blocks:
            raise ValueError(f"expected homologous from 0 to the encoder's {blocks} blocks, got {homologous}")
        self.group, self.mixtures = group, mixtures
        self.contrast, self.temperature = contrast, temperature
        self.segments: nn.Parameter | None = None
        if segments:
            self.segments = nn.Parameter(torch.randn(group, self.transformer.width) * 0.02)

    @property
    def label(self) -> str:
        recognises = self.homologous or self.contrast or self.segments is not None
        return "MixedAE" if recognises else "naive mixing"

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        self._check_groups(len(batch))
        found = [self._mixed_view(self.normalise(batch.images[:, view])) for view in range(self.views)]
        errors, contrasts, features = zip(*found, strict=True)
        reconstruction = all_reduce_mean(torch.stack(errors).mean())
        terms = detach_terms(reconstruction=reconstruction)
        if not self.contrast:
            return StepOutput(reconstruction, terms, stack_features(list(features)))
        contrast = all_reduce_mean(torch.stack(contrasts).mean())
        loss = reconstruction + self.contrast * contrast
        return StepOutput(loss, terms | detach_terms(contrast=contrast), stack_features(list(features)))

    def _mixed_view(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean error, mean contrast and mean tokens (B, D) by source of normalised images (B, 3, H, W)."""
        groups = len(images) // self.group * world_size()
        order = own_rows(draw_order(groups, self.transformer.patches, self.group)).to(images.device)
        sources = order[:, : self.mixtures]
        predicted, tokens = self.predict_sources(images, sources)
        visible = visible_of(sources, self.group)
        target = self.targets(images).unflatten(0, (-1, 1, self.group)).expand_as(predicted)
        error = hidden_error(predicted.flatten(0, 2), target.flatten(0, 2), visible.flatten(0, 2)).mean()
        contrast = token_supcon(tokens.flatten(0, 1), sources.flatten(0, 1), self.temperature).mean()
        shares = visible.to(tokens.dtype)  # (n, m, g, L)
        means = (shares @ tokens / shares.sum(3, keepdim=True).clamp(min=1)).mean(1)
        return error, contrast, means.flatten(0, 1)

    def predict_sources(self, images: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the targets of all patches of every image from mixtures.

        Args:
            images: (n · g, 3, H, W) normalised, a group in g consecutive rows.
            sources: (n, m, L) place in the group of the image that gives each patch of m mixtures.

        Returns:
            predictions (n, m, g, L, 3 · patch²) of each source from each mixture, and the mixtures' tokens
            (n, m, L, D).
        """
        tokens = self.transformer.embed(images).unflatten(0, (-1, self.group))
        if self.segments is not None:
            tokens = tokens + (self.segments - self.segments.mean(dim=0)).unsqueeze(1)
        keys = math.ceil(self.transformer.patches / self.group)
        mixed = patch_mix(tokens, sources).flatten(0, 1)
        seen = self.transformer.transform(mixed, self.homologous, keys).unflatten(0, sources.shape[:2])
        visible = visible_of(sources, self.group)
        repeated = seen.unsqueeze(2).expand(-1, -1, self.group, -1, -1).flatten(0, 2)
        prefix, patches = repeated[:, : self.transformer.prefix], repeated[:, self.transformer.prefix :]
        predicted = self.decoder(prefix, patches, visible.flatten(0, 2))
        return predicted.unflatten(0, visible.shape[:3]), seen[:, :, self.transformer.prefix :]

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        whole = len(images) // self.group * self.group
        if not whole:
            return {}
        normalised = self.normalise(images[:whole])
        order = draw_order(whole // self.group, self.transformer.patches, self.group, generator)
        sources = order[:, :1].to(images.device)
        predicted, _ = self.predict_sources(normalised, sources)
        return self.pictures(normalised, predicted.flatten(0, 2), visible_of(sources, self.group).flatten(0, 2))

    def _check_groups(self, size: int) -> None:
        if size % self.group:
            raise ValueError(f"{self.label} mixes groups of {self.group} images: expected a multiple of it, got {size}")


def draw_order(groups: int, patches: int, group: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw which image of its group gives each patch of each mixture: a permutation at every position.

    Args:
        groups: number n of groups.
        patches: number L of each image.
        group: number g of images, and of mixtures.
        generator: source of the draws; torch's own where None.

    Returns:
        (n, g, L): over the g mixtures, every image gives each of its patches once.
    """
    return torch.rand(groups, patches, group, generator=generator).argsort(dim=2).transpose(1, 2)


def patch_mix(tokens: Tensor, sources: Tensor) -> Tensor:
    """Mix the patches of groups of images; each keeps its position.

    Args:
        tokens: (n, g, L, D) of each image of each group.
        sources: (n, m, L) image of the group that gives each patch.

    Returns:
        (n, m, L, D).
    """
    return tokens.gather(1, sources.unsqueeze(3).expand(-1, -1, -1, tokens.shape[3]))


def visible_of(sources: Tensor, group: int) -> Tensor:
    """Return which patches (n, m, g, L) of each image of a group its mixtures show.

    Args:
        sources: (n, m, L) image of the group that gives each patch.
        group: number g of images.
    """
    return sources.unsqueeze(2) == torch.arange(group, device=sources.device).view(1, 1, -1, 1)
