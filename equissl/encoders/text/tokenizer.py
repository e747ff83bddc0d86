"""Tokenizers: texts to rows of numbers, padded behind their end."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

PAD = 0  # fills up short rows; lengths, not this number, say where a text ends
START = 1  # first token of every text of the tokenizers here, which pools it where the encoder says so

_WORD = re.compile(r"\w+|[^\w\s]")


class Tokenizer(ABC):
    """Map from texts to numbers.

    Attributes:
        size: number of tokens, `PAD` and `START` included.
    """

    size: int

    def encode(self, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Encode texts; what goes beyond ``length`` tokens is cut off.

        Args:
            texts: N texts.
            length: L, tokens of a row, at least 2.

        Returns:
            tokens (N, L) int64, the start first and `PAD` behind the end, and lengths (N,) int64, the start included.
            A text that was cut off has length L.

        Raises:
            ValueError: naming the row, for what is no text, is empty or is not Unicode; for no texts, or a length
                below 2.
        """
        if isinstance(texts, str) or not len(texts) or length < 2:
            raise ValueError(f"expected a list of texts and a length of at least 2, got {texts!r:.40} and {length}")
        rows = [self.row(_checked(text, number), length) for number, text in enumerate(texts)]
        tokens = torch.full((len(rows), length), PAD, dtype=torch.int64)
        for row, found in zip(tokens, rows, strict=True):
            row[: len(found)] = torch.tensor(found)
        return tokens, torch.tensor([len(found) for found in rows])

    @abstractmethod
    def row(self, text: str, length: int) -> list[int]:
        """List the numbers of a text, the start first, at most ``length``.

        Args:
            text: not empty.
            length: at least 2.
        """

    def fingerprint(self) -> int:
        """Compute a number that two tokenizers share only if they give the same numbers; 63 bits."""
        return fingerprint([type(self).__name__])


class ByteTokenizer(Tokenizer):
    """Bytes of a text in UTF-8: no vocabulary, and nothing is unknown. Byte b is token b + 2."""

    size = 256 + 2

    def row(self, text: str, length: int) -> list[int]:
        # a character has at least one byte: no more of a long text than that is encoded
        return [START, *(byte + 2 for byte in text[: length - 1].encode()[: length - 1])]


class WordTokenizer(Tokenizer):
    """Words and signs of a fixed vocabulary, in lower case; any other word is `UNKNOWN`.

    A word is a run of letters, digits and underscores; of other characters, spaces apart, each is a sign of its own.

    Args:
        vocabulary: words, each once; or a text file (UTF-8) with a word a line.

    Raises:
        ValueError: for an empty vocabulary, a word that is no single one, one that is there twice, or a file that
            cannot be read.
    """

    UNKNOWN = 2

    def __init__(self, vocabulary: Sequence[str] | str | Path) -> None:
        words = _read(Path(vocabulary)) if isinstance(vocabulary, str | Path) else list(vocabulary)
        if not words:
            raise ValueError("expected a vocabulary of at least one word, got none")
        self.numbers: dict[str, int] = {}
        for row, word in enumerate(words):
            if not isinstance(word, str) or _WORD.findall(word.lower()) != [word.lower()]:
                raise ValueError(f"expected one word or sign in row {row} of the vocabulary, got {word!r:.60}")
            if word.lower() in self.numbers:
                raise ValueError(f"expected every word once in the vocabulary, got {word!r:.60} again in row {row}")
            self.numbers[word.lower()] = row + self.UNKNOWN + 1
        self.size = len(self.numbers) + self.UNKNOWN + 1

    @classmethod
    def of(cls, texts: Sequence[str], most: int | None = None) -> WordTokenizer:
        """Make a vocabulary of the words of texts, the most frequent first, equals in alphabetical order.

        Args:
            texts: such as the captions of a training set.
            most: words to keep; None keeps all.
        """
        counts: dict[str, int] = {}
        for text in texts:
            for word in _WORD.findall(text.lower()):
                counts[word] = counts.get(word, 0) + 1
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[:most])

    @property
    def words(self) -> list[str]:
        """Words of the vocabulary, in the order of their numbers."""
        return list(self.numbers)

    def row(self, text: str, length: int) -> list[int]:
        matches = islice(_WORD.finditer(text.lower()), length - 1)
        return [START, *(self.numbers.get(match.group(), self.UNKNOWN) for match in matches)]

    def fingerprint(self) -> int:
        return fingerprint([type(self).__name__, *self.numbers])


def fingerprint(words: Sequence[str]) -> int:
    """Hash words, in their order, to 63 bits (SHA-256's first)."""
    return int.from_bytes(hashlib.sha256("\n".join(words).encode()).digest()[:8], "big") >> 1


def _checked(text: object, row: int) -> str:
    if not isinstance(text, str):
        raise ValueError(f"expected a text in row {row}, got {type(text).__name__}")
    if not text.strip():
        raise ValueError(f"expected a text in row {row}, got an empty one: {text!r:.40}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected Unicode text in row {row}, got half a character at {error.start}") from error
    return text


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a vocabulary file in UTF-8, a word a line, got {path}: {error}") from error
