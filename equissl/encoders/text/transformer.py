"""A small transformer over bytes or words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.encoders.text.base import Pooling, TextEncoder
from equissl.encoders.text.tokenizer import ByteTokenizer, Tokenizer, WordTokenizer

INIT_STD = 0.02


class TextTransformer(TextEncoder):
    """Pre-norm transformer with GELU and learned places; every token sees every other of its text.

    Args:
        tokenizer: ``byte`` or ``word``.
        vocabulary: words, or a file with a word a line, of the word tokenizer; none for bytes.
        length: tokens of a text, at most.
        width: D.
        layers: transformer layers.
        heads: attention heads; they share the width evenly.
        dropout: share of activations dropped in training. Two passes of one text then are two views of it, as in
            SimCSE and WhitenedCSE.
        pooling: see `TextEncoder`.

    Raises:
        ValueError: for an unknown tokenizer, words without a vocabulary, bytes with one, or sizes out of range.
    """

    def __init__(
        self,
        tokenizer: Literal["byte", "word"] = "byte",
        vocabulary: Sequence[str] | str | None = None,
        length: int = 96,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
        pooling: Pooling = "start",
    ) -> None:
        if min(width, layers, heads) < 1 or width % heads or not 0 <= dropout < 1:
            raise ValueError(
                "expected sizes of at least 1, heads that divide the width and a dropout in [0, 1), got "
                f"{width=}, {layers=}, {heads=}, {dropout=}"
            )
        super().__init__(_create_tokenizer(tokenizer, vocabulary), length, width, pooling)
        self.words = nn.Embedding(self.tokenizer.size, width)
        self.places = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=INIT_STD)

    def states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.words(tokens.masked_fill(~mask, 0)) + self.places(places))
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        return self.norm(x)


def _create_tokenizer(name: str, vocabulary: Sequence[str] | str | None) -> Tokenizer:
    if name == "byte" and vocabulary is None:
        return ByteTokenizer()
    if name == "word" and vocabulary is not None:
        return WordTokenizer(vocabulary)
    raise ValueError(
        f"expected the tokenizer 'byte', or 'word' with a vocabulary, got {name!r} and "
        f"{'none' if vocabulary is None else 'one'}"
    )
