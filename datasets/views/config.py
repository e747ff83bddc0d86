"""Section ``data`` of runs on views."""

from __future__ import annotations

from dataclasses import dataclass

from equissl.datasets.config import DataConfig
from equissl.datasets.views.live.spec import LiveSpec
from equissl.datasets.views.queries import QuerySpec


@dataclass(kw_only=True)
class ViewsData(DataConfig):
    """Views of objects, stored or rendered while training.

    Attributes:
        store: view store (.h5). May be left out with ``live``, and is then what `equissl evaluate` takes.
        live: render fresh views while training instead of reading stored ones, see `LiveViews`.
        objects: train on so many of the stored training objects, for curves over data; None takes all. The choice is
            the seed's, and a larger number keeps those of a smaller one. Evaluation knows all of them.
        labels: share of the stored training objects of each class that is learnt from, chosen by ``label_seed``; a
            larger share holds the objects of a smaller one. At least one object of each class.
        label_seed: of the share.
        queries: answered similarity queries of the stored views, for methods that learn from them (`SIRL`).
    """

    store: str = ""
    live: LiveSpec | None = None
    objects: int | None = None
    labels: float = 1.0
    label_seed: int = 0
    queries: QuerySpec | None = None
