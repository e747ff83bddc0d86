"""Classes of objects, and the labels of a data set that count as each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np


@dataclass(frozen=True)
class ObjectClass:
    """A class of objects to detect.

    Attributes:
        name: name of the class; a label of that name counts as it, in upper or lower case.
        aliases: other labels that count as it, with ``*`` for any text: ``human.pedestrian.*``.
        neighbours: labels, as in ``aliases``, that are like this class without being it: scoring passes over them,
            whether they are found or missed; to learning they are background.
        overlap: intersection over union in 3D that a detection must exceed to be right.
        paste: ground-truth sampling fills a sweep up to so many objects of this class, 0 pastes none.
        fewest_points: only objects with so many points are pasted.

    Raises:
        ValueError: for an empty name, an overlap outside 0..1 or negative counts.
    """

    name: str
    aliases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    overlap: float = 0.5
    paste: int = 0
    fewest_points: int = 5

    def __post_init__(self) -> None:
        if not self.name or min(self.paste, self.fewest_points) < 0 or not 0 <= self.overlap < 1:
            raise ValueError(f"expected a class with a name, an overlap in 0..1 and counts of at least 0, got {self}")

    def matches(self, label: str) -> bool:
        """Return True if a data set's label counts as this class."""
        return _any(label, (self.name, *self.aliases))

    def resembles(self, label: str) -> bool:
        """Return True if a data set's label is a neighbour's."""
        return _any(label, self.neighbours)


# those of the KITTI object benchmark, with its overlaps and SECOND's ground-truth sampling
KITTI_CLASSES = (
    ObjectClass("Car", neighbours=("Van",), overlap=0.7, paste=20),
    ObjectClass("Pedestrian", neighbours=("Person_sitting",), paste=15),
    ObjectClass("Cyclist", paste=15),
)


def class_indices(labels: Sequence[str], classes: Sequence[ObjectClass]) -> np.ndarray:
    """Find the first class that each label counts as: (M,) int64, -1 for none.

    Args:
        labels: M of a data set.
        classes: in order.
    """
    return _first(labels, classes, ObjectClass.matches)


def neighbour_indices(labels: Sequence[str], classes: Sequence[ObjectClass]) -> np.ndarray:
    """Find the first class that each label is a neighbour of: (M,) int64, -1 for none.

    Args:
        labels: M of a data set.
        classes: in order.
    """
    return _first(labels, classes, ObjectClass.resembles)


def _first(
    labels: Sequence[str], classes: Sequence[ObjectClass], test: Callable[[ObjectClass, str], bool]
) -> np.ndarray:
    known = {label: next((i for i, c in enumerate(classes) if test(c, label)), -1) for label in set(labels)}
    return np.array([known[label] for label in labels], dtype=np.int64)


def _any(label: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(label.lower(), pattern.lower()) for pattern in patterns)
