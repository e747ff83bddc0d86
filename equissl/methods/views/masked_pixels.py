"""Shared parts of masked autoencoders: patches of pixels, a decoder of tokens, and the error of hidden patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equissl.encoders.patch_transformer import PatchTransformer, position_waves
from equissl.losses import full_precision


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images (N, C, H, W) into patches (N, L, C · patch²), row by row.

    Args:
        images: whose sides are multiples of ``patch``.
        patch: side of a patch in pixels.
    """
    count, channels, height, width = images.shape
    cut = images.reshape(count, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Put patches (N, L, C · patch²) together to images (N, C, H, W), the inverse of `patchify`.

    Args:
        patches: row by row.
        patch: side of a patch in pixels.
        rows, columns: of patches.
    """
    cut = patches.reshape(len(patches), rows, columns, -1, patch, patch)
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and deviation (N, L, 1) of the pixels of each patch (N, L, D).

    Args:
        patches: of pixels.
    """
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


@full_precision
def hidden_error(predicted: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Compute the mean squared error of each image's hidden patches.

    Args:
        predicted, target: (N, L, D) pixels.
        visible: (N, L), True for patches that the encoder saw, which do not count.

    Returns:
        (N,); 0 for an image of which nothing is hidden.
    """
    error = (predicted - target).square().mean(dim=2)
    hidden = (~visible).to(error.dtype)
    return (error * hidden).sum(dim=1) / hidden.sum(dim=1).clamp(min=1)


class PixelDecoder(nn.Module):
    """Small transformer from the tokens of visible patches to the pixels of all.

    He et al. 2022 (MAE, arXiv 2111.06377): a learned mask token at every hidden place, fixed positions, blocks, and a
    linear layer to the pixels of a patch. Prefix tokens come along, so that they learn.

    Args:
        transformer: the encoder whose tokens are decoded.
        width: size of the decoder's tokens, a multiple of 4 and of ``heads``.
        depth: number of blocks.
        heads: of each block.
    """

    positions: Tensor

    def __init__(self, transformer: PatchTransformer, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or width % heads:
            raise ValueError(f"expected depth and heads of at least 1 that divide width, got {depth}, {heads}, {width}")
        self.embed = nn.Linear(transformer.width, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.register_buffer("positions", position_waves(*transformer.grid, width), persistent=False)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, 3 * transformer.patch**2)

    def forward(self, prefix: Tensor, patches: Tensor, visible: Tensor) -> Tensor:
        """Decode pixels of all patches.

        Args:
            prefix: (N, P, D) tokens before those of patches.
            patches: (N, L, D) tokens in their places; those of hidden places do not count.
            visible: (N, L), True where there is one.

        Returns:
            (N, L, 3 · patch²).
        """
        tokens = torch.where(visible.unsqueeze(2), self.embed(patches), self.mask_token) + self.positions
        tokens = self.blocks(torch.cat([self.embed(prefix), tokens], dim=1))
        return self.pixels(self.norm(tokens[:, prefix.shape[1] :]))
