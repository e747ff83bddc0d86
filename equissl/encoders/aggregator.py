"""Aggregator of a sequence of tokens: the transformer of seq-JEPA (Ghaemi et al. 2025, arXiv 2505.03176)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equissl.util.registry import Registry


class Aggregator(nn.Module):
    """Post-norm transformer encoder; its output in place of a learned first token is the aggregate.

    There is no positional encoding and no mask: the aggregate does not depend on the order of the tokens.

    Args:
        dim: size of a token and of the aggregate.
        layers: transformer layers.
        heads: attention heads; they share ``dim`` evenly.
        hidden: width of the feed-forward layers; None means four times ``dim``.
        dropout: share of activations dropped in training.

    Raises:
        ValueError: for no layer, or heads that cannot share ``dim``.
    """

    def __init__(
        self, dim: int, layers: int = 3, heads: int = 4, hidden: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if layers < 1 or heads < 1 or dim % heads:
            raise ValueError(f"expected at least 1 layer and heads that divide {dim}, got {layers} and {heads}")
        self.dim = dim
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, hidden or 4 * dim, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Aggregate tokens (B, M, dim), at least one each, to (B, dim)."""
        if tokens.ndim != 3 or tokens.shape[1] < 1 or tokens.shape[2] != self.dim:
            raise ValueError(f"expected tokens (B, M, {self.dim}) with M of at least 1, got {tuple(tokens.shape)}")
        x = torch.cat([self.token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        *layers, last = self.encoder.layers
        assert isinstance(last, nn.TransformerEncoderLayer)
        for layer in layers:
            x = layer(x)
        assert self.encoder.norm is not None
        return self.encoder.norm(_first_output(last, x))


def _first_output(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """The layer's output (B, dim) in the first place: nobody reads the others, so they are not computed."""
    first = x[:, :1]
    attended = layer.self_attn(first, x, x, need_weights=False)[0]
    y = layer.norm1(first + layer.dropout1(attended))
    hidden = layer.dropout(layer.activation(layer.linear1(y)))
    return layer.norm2(y + layer.dropout2(layer.linear2(hidden))).squeeze(1)


#: Modules from tokens (B, M, dim) to aggregates (B, dim); ``layers``, ``heads`` and ``dropout`` go to those that have
#: them.
AGGREGATORS: Registry[Callable[..., Any]] = Registry(
    "aggregator",
    {
        "transformer": "equissl.encoders.aggregator:Aggregator",
        "recurrent": "equissl.encoders.recurrent.aggregator:RecurrentTokenAggregator",
    },
    group="equissl.aggregators",
    base=nn.Module,
)
