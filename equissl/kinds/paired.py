"""Kind ``paired``: the same objects as images, point clouds and texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from equissl.datasets.paired.batch import PairedBatch
from equissl.datasets.paired.captioned import EXPECTED, is_captioned
from equissl.datasets.paired.config import PairedData
from equissl.datasets.paired.form import PairedForm
from equissl.datasets.paired.image_texts import ImageTexts
from equissl.datasets.paired.open import is_view_store, open_paired
from equissl.datasets.paired.paired_views import PairedViews
from equissl.evaluation.paired.config import PairedOptions
from equissl.evaluation.paired.evaluate import evaluate_paired
from equissl.kinds.kind import Kind
from equissl.reporting.paired.page import page
from equissl.reporting.paired.table import baselines, columns
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.weights.images import image_backbone, image_card


class Paired(Kind):
    """Objects in two or three modalities.

    A method of this kind says what it asks of each object by its attributes ``views``, ``clouds`` and ``texts``, how
    many of each (one that it lacks is 0), and for texts ``tokenizer`` and ``text_length``.
    """

    name, unit = "paired", "objects"
    batch, data, options = PairedBatch, PairedData, PairedOptions
    evaluate = staticmethod(evaluate_paired)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)
    card, library_backbone = staticmethod(image_card), staticmethod(image_backbone)
    source = f"a view store, which `equissl render` writes, or {EXPECTED}"

    def recognises(self, path: Path) -> bool:
        return is_captioned(path)

    def accepts(self, path: Path) -> bool:
        return self.recognises(path) or is_view_store(path)

    def resolve(self, data: PairedData) -> PairedData:
        data = super().resolve(data)
        return replace(data, captions=str(Path(data.captions).resolve())) if data.captions else data

    def open(self, config: PretrainConfig, method: Any, split: str | None = "train") -> PairedViews | ImageTexts:
        data = cast(PairedData, config.data)
        try:
            return open_paired(data, form_of(method), split, config.seed if data.seed is None else data.seed)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def form_of(method: Any) -> PairedForm:
    """Return what a method asks of each object.

    Args:
        method: of this kind.

    Raises:
        ValueError: fewer than two modalities, or texts without a tokenizer.
    """
    counts = {name: getattr(method, name, 0) for name in ("views", "clouds", "texts")}
    return PairedForm(**counts, tokenizer=getattr(method, "tokenizer", None), length=getattr(method, "text_length", 0))


PAIRED = Paired()
