"""Augmentations of texts: synonyms, order and deletion of words. No other language and no model is needed.

Ours; replacing by synonyms and deleting words are two of the four operations of EDA (Wei and Zou 2019, arXiv
1901.11196).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from equissl.datasets.paired.synonyms import SYNONYMS, with_article
from equissl.util.registry import Registry, did_you_mean

_SETS = {word: words for words in SYNONYMS for word in words}
_LONGEST_FIRST = "|".join(re.escape(word) for word in sorted(_SETS, key=len, reverse=True))
_PHRASE = re.compile(rf"\b(?:(an?) )?({_LONGEST_FIRST})\b")


@dataclass(frozen=True)
class TextPolicy:
    """Chances of random changes of a text, made in this order.

    Attributes:
        synonym: of each word or phrase of `SYNONYMS` to become another one of its set.
        order: of the parts between commas to be put in random order; a text of one part has two neighbouring words
            exchanged.
        deletion: of each word to be left out; one word at least stays.

    Raises:
        ValueError: chances outside [0, 1].
    """

    synonym: float = 0.5
    order: float = 0.5
    deletion: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"expected a chance of {field.name} in [0, 1], got {getattr(self, field.name)}")

    def apply(self, text: str, rng: np.random.Generator) -> str:
        """Change a text.

        Args:
            text: of one word at least.
            rng: that draws.
        """
        text = replace_synonyms(text, self.synonym, rng)
        if rng.random() < self.order:
            text = change_order(text, rng)
        return delete_words(text, self.deletion, rng)

    def altered(self, options: Mapping[str, Any]) -> TextPolicy:
        """Return the policy with other chances.

        Args:
            options: fields of `TextPolicy`.

        Raises:
            ValueError: an unknown field (the message holds the nearest one), or a chance out of range.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                raise ValueError(
                    f"unknown option {name!r} of a text policy{did_you_mean(name, known)}; expected {known}"
                )
        return replace(self, **options)


def replace_synonyms(text: str, chance: float, rng: np.random.Generator) -> str:
    """Replace words and phrases of `SYNONYMS`, each with a chance, by another of the same meaning.

    Args:
        text: to change.
        chance: of each.
        rng: that draws.
    """

    def other(match: re.Match[str]) -> str:
        article, phrase = match.groups()
        if rng.random() >= chance:
            return match.group()
        others = [word for word in _SETS[phrase] if word != phrase]
        chosen = others[int(rng.integers(len(others)))]
        return with_article(chosen) if article else chosen

    return _PHRASE.sub(other, text)


def change_order(text: str, rng: np.random.Generator) -> str:
    """Put the parts between commas in random order; of a single part, exchange two neighbouring words.

    Args:
        text: to change.
        rng: that draws.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1:
        return ", ".join(parts[i] for i in rng.permutation(len(parts)))
    words = text.split()
    if len(words) > 1:
        first = int(rng.integers(len(words) - 1))
        words[first : first + 2] = words[first + 1], words[first]
    return " ".join(words)


def delete_words(text: str, chance: float, rng: np.random.Generator) -> str:
    """Leave out words, each with a chance; where none would be left, one of them stays.

    Args:
        text: to change.
        chance: of each.
        rng: that draws.
    """
    words = text.split()
    kept = rng.random(len(words)) >= chance
    if not kept.any():
        kept[int(rng.integers(len(words)))] = True
    return " ".join(word for word, keep in zip(words, kept, strict=True) if keep)


TEXT_POLICIES: Registry[TextPolicy] = Registry(
    "text policy",
    {
        "words": TextPolicy(),
        "synonyms": TextPolicy(order=0.0, deletion=0.0),
        "none": TextPolicy(0.0, 0.0, 0.0),
    },
    group="equissl.text_policies",
    base=TextPolicy,
)
