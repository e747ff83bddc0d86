"""Section ``data`` of runs on views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from equissl.datasets.config import DataConfig
from equissl.datasets.views.live.spec import LiveSpec


@dataclass(kw_only=True)
class ViewsData(DataConfig):
    """Views of objects, stored or rendered while training.

    Attributes:
        store: view store (.h5); with ``sequences`` a folder of images. May be left out with ``live``, and is then what
            `equissl evaluate` takes.
        sequences: make the views from images as they are asked for: ``augmentations`` or ``saccades``, see
            `open_sequences`.
        sequence_options: its further arguments; ``split`` among them takes other images than the training ones.
        live: render fresh views while training instead of reading stored ones, see `LiveViews`.
    """

    store: str = ""
    sequences: Literal["augmentations", "saccades"] | None = None
    sequence_options: dict[str, Any] | None = None
    live: LiveSpec | None = None
