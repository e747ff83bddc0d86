"""Kind ``interactions``: items that users have had, in the order of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from equissl.datasets.interactions.augmentations import RandomViews
from equissl.datasets.interactions.config import InteractionsData
from equissl.datasets.interactions.files import EXPECTED, is_interactions
from equissl.datasets.interactions.history import Histories, read_histories
from equissl.datasets.interactions.sequences import InteractionBatch, InteractionSequences
from equissl.evaluation.interactions.evaluate import InteractionOptions, evaluate_interactions
from equissl.kinds.kind import Kind
from equissl.methods import Method
from equissl.methods.interactions.sasrec import SASRec
from equissl.reporting.interactions.page import page
from equissl.reporting.interactions.table import baselines, columns
from equissl.runs.config import ConfigError, PretrainConfig


class Interactions(Kind):
    """Interactions of users with items."""

    name, unit, source = "interactions", "sequences", EXPECTED
    batch, data, options = InteractionBatch, InteractionsData, InteractionOptions
    evaluate = staticmethod(evaluate_interactions)
    columns, baselines, page = staticmethod(columns), staticmethod(baselines), staticmethod(page)

    def recognises(self, path: Path) -> bool:
        return is_interactions(path)

    def open(self, config: PretrainConfig, method: Method, split: str | None = "train") -> InteractionSequences:
        data, learner = cast(InteractionsData, config.data), cast(SASRec, method)
        seed = config.seed if data.seed is None else data.seed
        histories = read_histories(data.store, data.core)
        _check_items(histories, learner)
        try:
            policy = RandomViews(learner.encoder.hidden_item, data.crop, data.mask, data.reorder)
        except ValueError as error:
            raise ConfigError(f"data: {error}") from error
        length, views = learner.encoder.config.length, learner.random_views
        return InteractionSequences(histories, split or "test", length, seed, views, policy)

    def prepare(
        self, config: PretrainConfig, method: Method, dataset: InteractionSequences, out: Path, fresh: bool
    ) -> dict[str, float]:
        cast(SASRec, method).encoder.catalogue.fill_(dataset.store.catalogue)  # it is never tested on others
        return {}

    def card(self, method: Any, config: PretrainConfig) -> dict[str, Any]:
        sizes = method.encoder.config
        return {
            "parts": {"all": method.feature_dim},
            "sequences": {
                "items": sizes.num_items,
                "length": sizes.length,
                "numbers": "from 1, by sorted name; 0 is none",
            },
        }


def _check_items(histories: Histories, method: SASRec) -> None:
    expected, found = len(histories.items), method.encoder.config.num_items
    if found != expected:
        raise ConfigError(
            f"expected method.encoder.num_items of {expected}, the items of {histories.path} that data.core leaves, "
            f"got {found}: take --method.encoder.num_items {expected}"
        )


INTERACTIONS = Interactions()
