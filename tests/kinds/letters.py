"""A kind of data of another package: files of text, and a method that learns the next letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equissl.datasets.config import DataConfig
from equissl.kinds import Kind
from equissl.methods import Method, StepOutput
from equissl.reporting.page import run_page
from equissl.reporting.table import Column, Row
from equissl.runs import write_results

ALPHABET = "abcdefghijklmnopqrstuvwxyz "
COLUMNS = (Column("bits", "bits", digits=2, best="min"),)


@dataclass(kw_only=True)
class LettersData(DataConfig):
    """Files of text.

    Attributes:
        root: folder of ``train`` and ``val`` with text files.
        length: letters of an item.
    """

    root: str
    length: int = 16


@dataclass(frozen=True)
class LetterBatch:
    """Letters (B, T) int64."""

    letters: Tensor

    def __len__(self) -> int:
        return len(self.letters)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> LetterBatch:
        return LetterBatch(self.letters.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> LetterBatch:
        return LetterBatch(self.letters.pin_memory())


class LetterDataset:
    """Excerpts of a split, drawn by (seed, epoch, index)."""

    items, views = "excerpts", 1

    def __init__(self, root: str, split: str, length: int, seed: int) -> None:
        text = "".join(path.read_text() for path in sorted((Path(root) / split).glob("*.txt")))
        self.letters = torch.tensor([ALPHABET.index(letter) for letter in text])
        self.split, self.length, self.seed, self.store = split, length, seed, SimpleNamespace(path=Path(root))

    def __len__(self) -> int:
        return len(self.letters) // self.length

    def __getitem__(self, address: tuple[int, int]) -> LetterBatch:
        return self.__getitems__([address])

    def __getitems__(self, addresses: Sequence[tuple[int, int]]) -> LetterBatch:
        starts = [(7 * epoch + self.length * index + self.seed) % (len(self.letters) - self.length - 1)
                  for epoch, index in addresses]  # fmt: skip
        return LetterBatch(torch.stack([self.letters[start : start + self.length + 1] for start in starts]))


@dataclass(frozen=True)
class LetterEncoder:
    """Vectors of letters."""

    width: int = 8

    def build(self) -> nn.Module:
        encoder: Any = nn.Embedding(len(ALPHABET), self.width)
        encoder.feature_dim = self.width
        return encoder


class Bigram(Method):
    """The next letter, from the one before."""

    kind, batch, views = "letters", LetterBatch, 1

    def __init__(self, width: int = 8) -> None:
        super().__init__(LetterEncoder(width))
        self.head = nn.Linear(width, len(ALPHABET))

    def step(self, batch: LetterBatch) -> StepOutput:
        features = self.encoder(batch.letters[:, :-1])
        loss = F.cross_entropy(self.head(features).flatten(0, 1), batch.letters[:, 1:].flatten())
        return StepOutput(loss, {"cross_entropy": loss.detach()}, features.detach().mean(1, keepdim=True))

    def features(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"all": self.encoder(inputs).mean(1)}


@dataclass
class LetterOptions:
    """Options of the evaluation.

    Attributes:
        excerpts: of the validation text.
    """

    excerpts: int = 8


class Letters(Kind):
    """Files of text."""

    name, unit, source = "letters", "excerpts", "a folder of train and val with text files"
    batch, data, options = LetterBatch, LettersData, LetterOptions

    def recognises(self, path: Path) -> bool:
        return any((path / "train").glob("*.txt"))

    def location(self, data: LettersData) -> str:
        return data.root

    def resolve(self, data: LettersData) -> LettersData:
        return replace(data, root=str(Path(data.root).resolve()))

    def open(self, config: Any, method: Method, split: str | None = "train") -> LetterDataset:
        return LetterDataset(config.data.root, split or "train", config.data.length, config.seed)

    def evaluate(
        self, run_dir: Path, method: Any, training: Any, options: Any, store: Any = None, log: Any = print
    ) -> Any:
        data = LetterDataset(store or training.data.root, "val", training.data.length, 0)
        with torch.no_grad():
            loss = method.step(data.__getitems__([(0, i) for i in range(options.excerpts)])).loss
        results = {"kind": self.name, "method": "Bigram", "run": run_dir.name, "store": training.data.root,
                   "seed": training.seed, "bits": float(loss) / 0.6931471805599453}  # fmt: skip
        write_results(run_dir, results)
        return results

    def columns(self, results: Any) -> tuple[Column, ...]:
        return COLUMNS

    def baselines(self, results: Any) -> list[Row]:
        return [Row("uniform", (4.754887502163469,), baseline=True)]

    def page(self, runs: Any, store: Any = None, title: str | None = None) -> str:
        rows = self.baselines([])
        return run_page("page.html", runs, COLUMNS, rows, {}, title=title or "Letters", setup=f"{len(runs)} model(s).")

    def card(self, method: Any, config: Any) -> dict[str, Any]:
        return {"parts": {"all": method.feature_dim}, "letters": ALPHABET}


LETTERS = Letters()
