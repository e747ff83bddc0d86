"""Number of images, clouds and texts that a method asks of each object, and the making of texts in its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equissl.datasets.paired.batch import TextBatch
from equissl.datasets.paired.text_policies import TEXT_POLICIES, TextPolicy
from equissl.encoders.text.tokenizer import Tokenizer

_TEXTS = 0x7E875  # keeps the stream of augmentations apart from others


@dataclass(frozen=True)
class PairedForm:
    """Number of images, clouds and texts of an object in a batch; at least two of the three are asked for.

    Attributes:
        views: V images.
        clouds: C clouds.
        texts: T texts, the first clean.
        tokenizer: of the texts; None only without texts.
        length: L, tokens of a text at most.

    Raises:
        ValueError: fewer than two modalities, negative numbers, or texts without a tokenizer or a length.
    """

    views: int = 0
    clouds: int = 0
    texts: int = 0
    tokenizer: Tokenizer | None = None
    length: int = 0

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("views", "clouds", "texts")}
        if min(counts.values()) < 0 or sum(count > 0 for count in counts.values()) < 2:
            raise ValueError(f"expected a method that asks for at least two of views, clouds and texts, got {counts}")
        if self.texts and (self.tokenizer is None or self.length < 2):
            raise ValueError(f"expected a tokenizer and at least 2 tokens for texts, got length {self.length}")


@dataclass(frozen=True)
class TextMaker:
    """Maker of the texts of a batch from one caption of each object.

    Attributes:
        form: what is asked for.
        policy: of all texts but the first.
        seed: of the policy. Text t of an item has the SeedSequence [seed, epoch, index, t] and a tag.
    """

    form: PairedForm
    policy: TextPolicy = TEXT_POLICIES["words"]
    seed: int = 0

    def texts(self, caption: str, epoch: int, index: int) -> list[str]:
        """Return the caption and T - 1 augmentations of it.

        Args:
            caption: of the item.
            epoch, index: its address.
        """
        streams = (np.random.default_rng([self.seed, epoch, index, t, _TEXTS]) for t in range(1, self.form.texts))
        return [caption, *(self.policy.apply(caption, rng) for rng in streams)]

    def count_cut(self, captions: Sequence[str]) -> int:
        """Count the captions that have more tokens than a text of the method may have."""
        assert self.form.tokenizer is not None
        _, lengths = self.form.tokenizer.encode(captions, self.form.length + 1)
        return int((lengths > self.form.length).sum())

    def batch(self, captions: Sequence[str], epochs: np.ndarray, indices: np.ndarray) -> TextBatch | None:
        """Make the texts of a batch; None where none are asked for.

        Args:
            captions: B, one of each item.
            epochs, indices: (B,) addresses.
        """
        if not self.form.texts:
            return None
        assert self.form.tokenizer is not None
        places = zip(captions, epochs.tolist(), indices.tolist(), strict=True)
        texts = [text for place in places for text in self.texts(*place)]
        tokens, lengths = self.form.tokenizer.encode(texts, self.form.length)
        shape = (len(captions), self.form.texts)
        return TextBatch(tokens.view(*shape, self.form.length), lengths.view(shape))
