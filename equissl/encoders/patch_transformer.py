"""A timm vision transformer taken apart: tokens of patches, and its blocks on any choice of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equissl.encoders.base import Encoder
from equissl.encoders.library import TimmEncoder

# modules and attributes that a plain vision transformer of timm has
_PARTS = ("patch_embed", "pos_embed", "blocks", "norm", "fc_norm", "norm_pre", "num_prefix_tokens", "no_embed_class")


class PatchTransformer:
    """View of an encoder that gives its tokens away between embedding and blocks; it owns no weights.

    Args:
        encoder: a timm vision transformer with one learned position for each patch (``timm/vit_…``, ``timm/deit_…``).

    Attributes:
        model: timm's model.
        patch: side of a patch in pixels.
        grid: rows and columns of patches.
        image_size: height and width of the images.
        width: size D of a token.

    Raises:
        ValueError: for any other encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        model: Any = encoder.model if isinstance(encoder, TimmEncoder) else None
        if model is None or not all(hasattr(model, part) for part in _PARTS) or not _plain(model):
            name = type(encoder if model is None else model).__name__
            raise ValueError(
                "expected a plain vision transformer of timm with learned positions, such as "
                f"timm/vit_tiny_patch16_224 with options img_size and patch_size, got {name}"
            )
        self.model = model
        self.patch = int(model.patch_embed.patch_size[0])
        self.grid: tuple[int, int] = tuple(model.patch_embed.grid_size)
        self.image_size: tuple[int, int] = tuple(model.patch_embed.img_size)
        self.width = int(model.embed_dim)

    @property
    def patches(self) -> int:
        """Number L of patches, row by row."""
        return self.grid[0] * self.grid[1]

    @property
    def prefix(self) -> int:
        """Number P of tokens before those of patches: class and register tokens."""
        return self.model.num_prefix_tokens

    @torch.no_grad()
    def start_from_waves(self) -> None:
        """Start the patches' positions as sines and cosines of their place, see `position_waves`."""
        positions = self.model.pos_embed
        positions[:, positions.shape[1] - self.patches :] = position_waves(*self.grid, self.width)

    def embed(self, images: Tensor) -> Tensor:
        """Compute the tokens (N, L, D) of the patches of normalised images (N, 3, H, W), with their positions.

        Raises:
            ValueError: for images of another size.
        """
        if tuple(images.shape[2:]) != self.image_size:
            raise ValueError(
                f"expected images of {self.image_size} pixels (the encoder's option img_size), got "
                f"{tuple(images.shape[2:])}"
            )
        tokens = self.model.patch_embed(images)
        return self.model.pos_drop(tokens + self.model.pos_embed[:, -self.patches :])

    def transform(self, tokens: Tensor, local: int = 0, keys: int = 0) -> Tensor:
        """Put the prefix before tokens (N, T, D) and pass them through all blocks and the last norm.

        Args:
            tokens: any choice of those of `embed`.
            local: number of last blocks in which each query sees but the nearest keys, see `top_k_attention`.
            keys: number of those.

        Returns:
            (N, P + T, D).
        """
        model = self.model
        x = model.norm_pre(torch.cat([self._prefix_tokens(len(tokens)), tokens], dim=1))
        first_local = len(model.blocks) - local
        for number, block in enumerate(model.blocks):
            x = block(x) if number < first_local else _top_k_block(block, x, keys)
        return model.fc_norm(model.norm(x))  # one of the two is the identity: timm's models pool before or after

    def _prefix_tokens(self, count: int) -> Tensor:
        found = [x for x in (self.model.cls_token, self.model.reg_token) if x is not None]
        if not found:
            return self.model.pos_embed.new_zeros(count, 0, self.width)
        prefix = torch.cat(found, dim=1)
        if not self.model.no_embed_class:
            prefix = prefix + self.model.pos_embed[:, : self.prefix]
        return prefix.expand(count, -1, -1)


def _plain(model: Any) -> bool:
    """True for fixed learned positions of all patches, and attention that `top_k_attention` knows."""
    learned = isinstance(model.pos_embed, nn.Parameter) and not model.dynamic_img_size
    known = isinstance(model.patch_drop, nn.Identity) and model.attn_pool is None
    return learned and known and all(getattr(block.attn, "gate", None) is None for block in model.blocks)


def top_k_attention(attention: Any, x: Tensor, keys: int) -> Tensor:
    """Attend, in every head, to the ``keys`` keys of the largest products with the query, and to no other.

    Args:
        attention: timm's attention, whose weights are used.
        x: (N, T, D) tokens.
        keys: at least 1; T or more is ordinary attention.

    Returns:
        (N, T, D).

    Raises:
        ValueError: for fewer keys.
    """
    if keys < 1:
        raise ValueError(f"expected at least 1 key for each query, got {keys}")
    count, length, _ = x.shape
    qkv = attention.qkv(x).reshape(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    logits = attention.q_norm(query) * attention.scale @ attention.k_norm(key).mT
    if keys < length:
        nearest = logits.topk(keys, dim=-1, sorted=False).indices
        hidden = torch.ones_like(logits, dtype=torch.bool).scatter_(-1, nearest, False)
        logits = logits.masked_fill(hidden, float("-inf"))
    mixed = attention.attn_drop(logits.softmax(dim=-1)) @ value
    return attention.proj_drop(attention.proj(attention.norm(mixed.transpose(1, 2).flatten(2))))


def _top_k_block(block: Any, x: Tensor, keys: int) -> Tensor:
    x = x + block.drop_path1(block.ls1(top_k_attention(block.attn, block.norm1(x), keys)))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def position_waves(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of row and column at ``dim / 4`` wavelengths each, 2π to 20,000π (Vaswani et al. 2017; MAE).

    Args:
        rows, columns: of the grid.
        dim: numbers for each place, a multiple of 4.

    Returns:
        (rows · columns, dim), row by row: sines and cosines of the row, then of the column.

    Raises:
        ValueError: for another ``dim``.
    """
    if dim % 4 or dim < 4:
        raise ValueError(f"expected a width that is a multiple of 4 for positions in two dimensions, got {dim}")
    frequency = 10_000 ** -(torch.arange(dim // 4) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (row, column)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
