"""Invariant objectives of embeddings, by name, with the state that some of them keep (queues, predictors, prototypes).

The maths is in :mod:`equissl.losses`; a method hands an objective the global batch of embeddings.
"""

from equissl.objectives.base import Embedded, Need, Objective
from equissl.objectives.create import OBJECTIVES, ObjectiveConfig, create_objective

__all__ = ["OBJECTIVES", "Embedded", "Need", "Objective", "ObjectiveConfig", "create_objective"]
