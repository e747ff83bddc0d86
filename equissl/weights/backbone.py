"""Encoder alone, of a model whose heads were not published or are not known here."""

from __future__ import annotations

from typing import NoReturn

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import DEFAULT_ENCODER, EncoderConfig
from equissl.methods.views.base import ViewMethod


class Backbone(ViewMethod):
    """A frozen encoder; it can be evaluated and exported, and has no loss to train with.

    Args:
        encoder: image encoder.
    """

    def __init__(self, encoder: EncoderConfig = DEFAULT_ENCODER) -> None:
        super().__init__(encoder)

    def step(self, batch: ViewBatch) -> NoReturn:
        """Raise ValueError: there is nothing to train."""
        raise ValueError("Backbone is an encoder without a loss: evaluate or export it; to train, choose a method")
