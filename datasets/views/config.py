"""Section ``data`` of runs on views."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.datasets.config import DataConfig
from equissl.datasets.views.live.spec import LiveSpec


@dataclass(kw_only=True)
class ViewsData(DataConfig):
    """Views of objects, stored or rendered while training.

    Attributes:
        store: view store (.h5). May be left out with ``live``, and is then what `equissl evaluate` takes.
        live: render fresh views while training instead of reading stored ones, see `LiveViews`.
    """

    store: str = ""
    live: LiveSpec | None = None
