"""Kind ``views``: rendered images of objects with exact latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from equissl.datasets.addressed import AddressedDataset
from equissl.datasets.hdf5 import declared_format
from equissl.datasets.views.config import ViewsData
from equissl.datasets.views.dataset import ViewDataset
from equissl.datasets.views.live.open import open_live
from equissl.datasets.views.queries import QueryDataset, draw_queries, find_odd
from equissl.datasets.views.query_files import read_answers
from equissl.datasets.views.store.format import FORMAT
from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.views.config import EvaluateConfig
from equissl.evaluation.views.evaluate import evaluate_views
from equissl.evaluation.views.features import extract_features
from equissl.kinds.image_kind import ImageKind
from equissl.methods import Method
from equissl.reporting.views.page import page
from equissl.reporting.views.table import baselines, columns
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.weights.images import image_card


class Views(ImageKind):
    """Views of objects, stored or rendered while training."""

    name = "views"
    data, options = ViewsData, EvaluateConfig
    source = "a view store, which `equissl render` writes"
    evaluate = staticmethod(evaluate_views)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)
    card = staticmethod(image_card)

    def recognises(self, path: Path) -> bool:
        return declared_format(path) == FORMAT

    def resolve(self, data: ViewsData) -> ViewsData:
        data = super().resolve(data)
        if data.queries is not None and data.queries.answers is not None:
            data = replace(data, queries=replace(data.queries, answers=str(Path(data.queries.answers).resolve())))
        return data if data.live is None else replace(data, live=data.live.resolved())

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> AddressedDataset:
        data: Any = config.data
        seed = config.seed if data.seed is None else data.seed
        _check_queries(data, method)
        if data.live is not None and (data.objects is not None or data.labels != 1):
            raise ConfigError(
                "expected data.objects and data.labels with a store only; live views have data.live.objects"
            )
        if data.live is not None:
            live = open_live(data.live, split, method.views, seed, data.workers)
            self.check_classes(method, live)
            return live
        if not data.store:
            raise ConfigError(f"expected data.store to be {self.source}, or data.live to render while training")
        learnt = {name: getattr(data, name) for name in ("objects", "labels", "label_seed")} if split == "train" else {}
        if data.queries is not None:
            return open_queries(data, split, seed, learnt)
        dataset = ViewDataset(data.store, split=split, views=method.views, seed=seed, **learnt)
        self.check_classes(method, dataset)
        return dataset

    def represent(self, config: PretrainConfig, method: Any, part: str) -> Tensor:
        """Compute the mean direction (N, D) of the stored views of each training object.

        Args:
            config, method, part: see `Kind.represent`.
        """
        data: Any = config.data
        if data.live is not None:
            raise ConfigError("expected data.store: views that are rendered while training cannot be encoded once")
        dataset = cast(ViewDataset, self.open(config, method))
        device = next(method.parameters()).device
        found = extract_features(method, dataset.store, dataset.objects, device=device)
        if part not in found:
            raise ConfigError(f"expected a part of the features ({', '.join(found)}), got {part!r}")
        return F.normalize(F.normalize(found[part], dim=2).mean(dim=1), dim=1)

    def posed_views(self, method: Method) -> int:
        return method.views


def _check_queries(data: ViewsData, method: Method) -> None:
    """Refuse queries without a method that learns from them, and the reverse."""
    name = type(method).__name__
    if method.learns_from_queries and data.queries is None:
        raise ConfigError(f"{name} learns from similarity queries: expected data.queries, such as {{about: pose}}")
    if data.queries is not None and not method.learns_from_queries:
        raise ConfigError(f"expected data.queries with a method that learns from queries only, got them with {name}")
    if data.queries is not None and data.live is not None:
        raise ConfigError("expected data.queries with a store only, got them with data.live")


def open_queries(data: ViewsData, split: str | None, seed: int, learnt: dict[str, Any]) -> QueryDataset:
    """Open answered similarity queries: an oracle's, or those of a file.

    Args:
        data: with ``queries``.
        split: ``train``, ``val``, or None for all.
        seed: of the choice of views, and of the order.
        learnt: share of the objects that is learnt from, as `ViewDataset` takes it; a person's answers decide that
            themselves.

    Raises:
        ConfigError: an unknown attribute, one that the store does not hold, or too few objects.
        QueryFileError: answers that do not fit the store.
    """
    assert data.queries is not None
    spec, store = data.queries, ViewStore(data.store)
    if spec.answers is not None:
        return QueryDataset(store, read_answers(spec.answers, store, split), split, seed)
    try:
        chosen = ViewDataset(store, split, views=1, seed=seed, **learnt).objects
        shown = draw_queries(chosen, store.num_views, spec.count, seed)
        return QueryDataset(store, shown.answered(find_odd(shown, store, spec.about)), split, seed)
    except ValueError as error:
        raise ConfigError(str(error)) from error


VIEWS = Views()
