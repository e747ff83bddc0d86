"""Relations of classes that an objective has learned, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from equissl.methods.base import Method
from equissl.util.files import atomic_path
from equissl.util.progress import Log

RELATIONS = "class_relations.npz"


def write_class_relations(folder: Path, method: Method, classes: Sequence[str], log: Log) -> None:
    """Write ``class_relations.npz``, relations (C, C) and names of the classes, where the objective has learned any.

    Args:
        folder: of the results.
        method: in eval mode.
        classes: names of the classes of the data it is evaluated on.
        log: called with the reason where these are not the classes it has learned.
    """
    relations = None if method.objective is None else method.objective.class_relations()
    if relations is None:
        return
    if len(relations) != len(classes):
        log(f"skipping class relations: learned of {len(relations)} classes, evaluated on {len(classes)}")
        return
    with atomic_path(folder / RELATIONS) as partial, partial.open("wb") as file:
        np.savez_compressed(file, relations=relations.float().cpu().numpy(), classes=np.array(classes))
