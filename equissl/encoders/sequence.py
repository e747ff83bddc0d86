"""Transformer encoder of sequences of items: SASRec's (Kang and McAuley, ICDM 2018, arXiv 1808.09781)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class SequenceEncoderConfig:
    """Sizes of an encoder of item sequences; the defaults are those of MCLRec's release.

    Attributes:
        num_items: N, the items of the catalogue; training names the number of a file after its k-core filter.
        length: items of a sequence, at most.
        dim: D, width of items and states.
        layers: transformer layers.
        heads: attention heads; they share ``dim`` evenly.
        hidden: width of the feed-forward layers; None means four times ``dim``.
        dropout: share of activations dropped in training.
    """

    num_items: int
    length: int = 50
    dim: int = 64
    layers: int = 2
    heads: int = 2
    hidden: int | None = None
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("num_items", "length", "dim", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"expected heads that divide dim {self.dim}, got {self.heads}")

    def build(self) -> SequenceEncoder:
        """Create the encoder with fresh weights."""
        return SequenceEncoder(self)


class SequenceEncoder(nn.Module):
    """Causal transformer over items and their places; its state at a place scores the item to come.

    Post-norm layers with GELU and learned places, as in the releases that followed SASRec's. Item 0 fills up short
    sequences behind their last item, so that the causal mask alone keeps it away; N + 1 stands for a hidden item.

    Attributes:
        catalogue: number that stands for the names of the items it was trained on, 0 before training.

    Args:
        config: sizes.
    """

    catalogue: Tensor

    def __init__(self, config: SequenceEncoderConfig) -> None:
        super().__init__()
        self.config, self.feature_dim = config, config.dim
        self.items = nn.Embedding(config.num_items + 2, config.dim, padding_idx=0)
        self.places = nn.Embedding(config.length, config.dim)
        self.norm, self.dropout = nn.LayerNorm(config.dim), nn.Dropout(config.dropout)
        width = config.hidden or 4 * config.dim
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(config.dim, config.heads, width, config.dropout, "gelu", batch_first=True)
            for _ in range(config.layers)
        )
        self.register_buffer("catalogue", torch.zeros((), dtype=torch.int64))
        self._initialise()

    @property
    def hidden_item(self) -> int:
        """Number that stands for an item that is hidden."""
        return self.config.num_items + 1

    def forward(self, items: Tensor) -> Tensor:
        """Compute the states (B, L, D) of sequences (B, L), 0 behind their last item.

        Raises:
            ValueError: for another shape, or sequences that are too long.
        """
        if items.ndim != 2 or not 1 <= items.shape[1] <= self.config.length:
            raise ValueError(f"expected items (B, L) with L in 1..{self.config.length}, got {tuple(items.shape)}")
        places = torch.arange(items.shape[1], device=items.device)
        x = self.dropout(self.norm(self.items(items) + self.places(places)))
        later = places[:, None] < places  # True where attention may not look
        for layer in self.layers:
            x = layer(x, src_mask=later)
        return x

    def last(self, items: Tensor) -> Tensor:
        """Compute the states (B, D) at the last items of sequences (B, L)."""
        states = self(items)
        end = (items > 0).sum(1).sub(1).clamp(min=0)
        return states[torch.arange(len(items), device=items.device), end]

    def embeddings(self) -> Tensor:
        """Return the embeddings (N, D) of items 1 to N."""
        return self.items.weight[1:-1]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention):
                nn.init.normal_(module.in_proj_weight, std=INIT_STD)
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=INIT_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.items.weight[0].zero_()
