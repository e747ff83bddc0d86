"""Pictures of the relations of classes that an objective has learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equissl.evaluation.relations import RELATIONS
from equissl.reporting.blocks import Card, cards
from equissl.reporting.charts import heat_map
from equissl.reporting.runs import Run

MOST = 60  # classes of a picture that can still be read


def relation_cards(runs: Sequence[Run]) -> list[Card]:
    """Draw the class relations of every run that has some, of the first classes where there are many."""
    found = []
    for run in runs:
        if (file := run.file(RELATIONS)) is None:
            continue
        with np.load(file) as arrays:
            relations, classes = arrays["relations"][:MOST, :MOST].tolist(), arrays["classes"][:MOST].tolist()
        title = f"{run.name}: share of the embedding that two classes have in common"
        found.append(Card(title, heat_map(relations, classes)))
    return cards(*found)
