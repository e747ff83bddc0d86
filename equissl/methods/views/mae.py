"""Masked autoencoder: pixels of hidden patches from visible ones (He et al. 2022, arXiv 2111.06377)."""

from __future__ import annotations

import torch
from torch import Tensor

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.encoders.patch_transformer import PatchTransformer
from equissl.losses import all_reduce_mean, own_rows, world_size
from equissl.methods.base import StepOutput, detach_terms, stack_features
from equissl.methods.views.base import ViewMethod
from equissl.methods.views.masked_pixels import (
    PixelDecoder,
    hidden_error,
    patch_statistics,
    patchify,
    unpatchify,
)

VIT = EncoderConfig("timm/vit_tiny_patch16_224")


class MAE(ViewMethod):
    """An encoder of the visible patches of an image, and a small decoder of the pixels of the others.

    The paper's: random masking of 75 %, the encoder without mask tokens, the decoder (`PixelDecoder`), the mean squared
    error of hidden patches alone, each patch normalised by its own mean and deviation, whole images downstream. Ours:
    the encoder's positions begin as the paper's sines and cosines but are learned, as timm's models have them; the
    representation that training watches is the mean of the visible tokens. Part ``all`` is pooled as the encoder says:
    the class token by default, the mean of the patches with the option ``global_pool: avg``.

    Args:
        encoder: a vision transformer of timm; options ``img_size`` and ``patch_size`` fit it to small images.
        mask_ratio: share of the patches that are hidden, above 0 and below 1.
        decoder_width: size of the decoder's tokens.
        decoder_depth: its blocks.
        decoder_heads: heads of each.
        normalise_patches: normalise each target patch by its own statistics.
        views: views of each object in a batch, each an image of its own; 1 is enough.

    Raises:
        ValueError: for another encoder, a mask that hides all patches or none, or a decoder that is not possible.
    """

    def __init__(
        self,
        encoder: EncoderConfig = VIT,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        normalise_patches: bool = True,
        views: int = 1,
    ) -> None:
        super().__init__(encoder)
        self.transformer = PatchTransformer(self.encoder)
        self.transformer.start_from_waves()
        self.visible = round(self.transformer.patches * (1 - mask_ratio))
        if not 0 < self.visible < self.transformer.patches:
            raise ValueError(
                f"expected a mask_ratio that hides some of the {self.transformer.patches} patches and shows some, got "
                f"{mask_ratio}"
            )
        if views < 1:
            raise ValueError(f"expected at least 1 view, got {views}")
        self.decoder = PixelDecoder(self.transformer, decoder_width, decoder_depth, decoder_heads)
        self.normalise_patches, self.views = normalise_patches, views

    @property
    def label(self) -> str:
        return "MAE"

    def step(self, batch: ViewBatch) -> StepOutput:
        self.check_views(batch)
        found = [self._view(self.normalise(batch.images[:, view])) for view in range(self.views)]
        loss = all_reduce_mean(torch.stack([error for error, _ in found]).mean())
        return StepOutput(loss, detach_terms(reconstruction=loss), stack_features([tokens for _, tokens in found]))

    def _view(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean error of normalised images (B, 3, H, W), and the mean (B, D) of their visible tokens."""
        kept = own_rows(draw_visible(len(images) * world_size(), self.transformer.patches, self.visible))
        predicted, visible, tokens = self.predict(images, kept.to(images.device))
        return hidden_error(predicted, self.targets(images), visible).mean(), tokens.mean(dim=1)

    def predict(self, images: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the targets of all patches from some.

        Args:
            images: (N, 3, H, W) normalised.
            kept: (N, K) patches that the encoder sees.

        Returns:
            predictions (N, L, 3 · patch²), the visible places (N, L), and the K tokens (N, K, D) that the encoder
            makes of the visible patches.
        """
        tokens = self.transformer.embed(images)
        places = kept.unsqueeze(2).expand(-1, -1, tokens.shape[2])
        seen = self.transformer.transform(tokens.gather(1, places))
        prefix, patches = seen[:, : self.transformer.prefix], seen[:, self.transformer.prefix :]
        spread = patches.new_zeros(tokens.shape).scatter(1, places, patches)
        visible = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=kept.device).scatter_(1, kept, True)
        return self.decoder(prefix, spread, visible), visible, patches

    def targets(self, images: Tensor) -> Tensor:
        """Compute what the decoder is to predict, (N, L, 3 · patch²), of normalised images (N, 3, H, W)."""
        patches = patchify(images, self.transformer.patch)
        if not self.normalise_patches:
            return patches
        mean, std = patch_statistics(patches)
        return (patches - mean) / std

    def decoded(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        kept = draw_visible(len(images), self.transformer.patches, self.visible, generator)
        normalised = self.normalise(images)
        predicted, visible, _ = self.predict(normalised, kept.to(images.device))
        return self.pictures(normalised, predicted, visible)

    def pictures(self, images: Tensor, predicted: Tensor, visible: Tensor) -> dict[str, Tensor]:
        """Draw what the encoder saw, the rest grey, and the same with predictions in place of the rest.

        Predicted patches get the mean and deviation of the true ones where those were taken away from the targets.

        Args:
            images: (N, 3, H, W) normalised.
            predicted: (N, L, 3 · patch²).
            visible: (N, L).
        """
        patches = patchify(images, self.transformer.patch)
        if self.normalise_patches:
            mean, std = patch_statistics(patches)
            predicted = predicted * std + mean
        rows = {"visible patches": torch.zeros_like(patches), "reconstruction": predicted}
        return {name: self._picture(torch.where(visible.unsqueeze(2), patches, x)) for name, x in rows.items()}

    def _picture(self, patches: Tensor) -> Tensor:
        return self.denormalise(unpatchify(patches, self.transformer.patch, *self.transformer.grid))


def draw_visible(count: int, patches: int, visible: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw which patches of each image stay visible, all choices alike.

    Args:
        count: images N.
        patches: of each.
        visible: K of them that stay.
        generator: source of the draws; torch's own where None.

    Returns:
        (N, K) positions, in ascending order.
    """
    order = torch.rand(count, patches, generator=generator).argsort(dim=1)
    return order[:, :visible].sort(dim=1).values
