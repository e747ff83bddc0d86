"""Interface of text encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equissl.encoders.text.tokenizer import Tokenizer

Pooling = Literal["start", "mean"]


class TextEncoder(nn.Module, ABC):
    """Encoder of rows of tokens to a state for each token, and of those to one vector.

    Its tokenizer is fixed when it is built. A number that stands for the tokenizer is saved with the weights, and
    weights that belong to another one are refused.

    Args:
        tokenizer: of the texts.
        length: tokens of a text, at most.
        feature_dim: size D of a state and of the vector.
        pooling: the vector is the state of the first token (``start``), or the mean over tokens (``mean``).

    Raises:
        ValueError: for an unknown pooling, or a length below 2.
    """

    vocabulary: Tensor

    def __init__(self, tokenizer: Tokenizer, length: int, feature_dim: int, pooling: Pooling) -> None:
        super().__init__()
        if pooling not in ("start", "mean") or length < 2:
            raise ValueError(
                f"expected pooling 'start' or 'mean' and a length of at least 2, got {pooling!r} and {length}"
            )
        self.tokenizer, self.length, self.feature_dim, self.pooling = tokenizer, length, feature_dim, pooling
        self.register_buffer("vocabulary", torch.tensor(tokenizer.fingerprint()))

    @abstractmethod
    def states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Compute states (N, L, D); those of padding may hold anything.

        Args:
            tokens: (N, L).
            mask: (N, L), True for tokens of the text.
        """

    def dense(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states (N, L, D) of tokens, 0 for padding, and the mask (N, L), True for tokens of the text.

        Args:
            tokens, lengths: as for `forward`, with its errors.
        """
        mask = self._check(tokens, lengths)
        most = int(mask.sum(dim=1).max())  # columns of padding alone are not computed
        found = self.states(tokens[:, :most], mask[:, :most])
        states = found.masked_fill(~mask[:, :most, None], 0)
        return nn.functional.pad(states, (0, 0, 0, tokens.shape[1] - most)), mask

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Encode texts to vectors (N, D).

        Args:
            tokens: (N, L) int64 of the tokenizer.
            lengths: (N,) int64; tokens behind are padding, whatever they are.

        Raises:
            ValueError: for other shapes, texts that are too long, lengths outside 1..L, or tokens that the tokenizer
                does not have.
        """
        return self.pool(*self.dense(tokens, lengths))

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Pool states to vectors (N, D).

        Args:
            states: (N, L, D), 0 for padding.
            mask: (N, L), True for tokens of the text.
        """
        if self.pooling == "start":
            return states[:, 0]
        return states.sum(dim=1) / mask.sum(dim=1, keepdim=True)

    def _check(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        if tokens.ndim != 2 or lengths.shape != tokens.shape[:1] or 0 in tokens.shape:
            raise ValueError(
                f"expected tokens (N, L) and lengths (N,), got {tuple(tokens.shape)} and {tuple(lengths.shape)}"
            )
        if tokens.is_floating_point() or lengths.is_floating_point():
            raise ValueError(f"expected tokens and lengths of integers, got {tokens.dtype} and {lengths.dtype}")
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < 1 or longest > min(tokens.shape[1], self.length):
            raise ValueError(f"expected lengths in 1..{min(tokens.shape[1], self.length)}, got {shortest} to {longest}")
        used = tokens[mask]
        if int(used.min()) < 0 or int(used.max()) >= self.tokenizer.size:
            raise ValueError(
                f"expected tokens in 0..{self.tokenizer.size - 1}, got {int(used.min())} to {int(used.max())}: they "
                "come from another tokenizer"
            )
        return mask

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(f"{prefix}vocabulary")
        if saved is not None and int(saved) != int(self.vocabulary):
            raise ValueError(
                "expected weights of a text encoder with the same tokenizer and vocabulary: these were trained on "
                "tokens of another one"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
