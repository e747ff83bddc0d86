"""Interface of mesh sources, and how sources are cut and joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from equissl.datasets.meshes.mesh import Mesh


class MeshSourceError(ValueError):
    """A source that does not exist, holds no objects, or fewer than asked for."""


@dataclass(frozen=True)
class MeshEntry:
    """One object of a source.

    Attributes:
        name: ``CLASS/ID``, unique in the source.
        label: Index into the source's ``classes``.
        source: Name of the source it comes from: ``sweethome3d``, ``procedural``, ``folder`` ...
        licence: As the origin states it.
        creator: As the origin states it.
        split: 0 train or 1 val where the origin publishes a split; None where it does not.
    """

    name: str
    label: int
    source: str
    licence: str = ""
    creator: str = ""
    split: int | None = None


class MeshSource(Protocol):
    """A picklable list of labelled meshes, decoded one at a time.

    A class whose argument is called ``root`` is handed the folder that the user names; ``up`` and ``limits`` are handed
    to those that have them. A source without end lists its classes as ``endless`` and takes ``num_objects``, ``seed``
    and ``classes``. A source may have ``notes``, see :func:`notes_of`.
    """

    name: str
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def entry(self, index: int) -> MeshEntry: ...

    def load(self, index: int) -> Mesh:
        """Decode object ``index``: normalised, z up.

        Raises:
            MeshError: Naming the mesh, where it is empty, not finite, without extent or unreadable.
        """
        ...


def notes_of(source: MeshSource) -> tuple[str, ...]:
    """Return what the user should know of a source, one sentence each, such as files that no reader takes."""
    return tuple(getattr(source, "notes", ()))


class Subset:
    """Some objects of a source, in a given order."""

    def __init__(self, source: MeshSource, indices: Sequence[int]) -> None:
        self.source, self.indices = source, tuple(int(i) for i in indices)
        self.name, self.classes, self.notes = source.name, source.classes, notes_of(source)

    def __len__(self) -> int:
        return len(self.indices)

    def entry(self, index: int) -> MeshEntry:
        return self.source.entry(self.indices[index])

    def load(self, index: int) -> Mesh:
        return self.source.load(self.indices[index])


class OfClasses(Subset):
    """The objects of some classes of a source, whose order stays."""

    def __init__(self, source: MeshSource, classes: Sequence[str]) -> None:
        kept = [label for label, name in enumerate(source.classes) if name in classes]
        super().__init__(source, [i for i in range(len(source)) if source.entry(i).label in kept])
        self.classes = tuple(source.classes[label] for label in kept)

    def entry(self, index: int) -> MeshEntry:
        entry = super().entry(index)
        return replace(entry, label=self.classes.index(self.source.classes[entry.label]))


class Joined:
    """Several sources one after the other; classes of the same name are one class."""

    def __init__(self, sources: Sequence[MeshSource], classes: Sequence[str] | None = None) -> None:
        self.sources = tuple(sources)
        self.name = "+".join(source.name for source in self.sources)
        self.notes = tuple(note for source in self.sources for note in notes_of(source))
        self.classes = tuple(classes) if classes else tuple(sorted({c for s in self.sources for c in s.classes}))
        self._starts = np.cumsum([0, *(len(source) for source in self.sources)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _locate(self, index: int) -> tuple[MeshSource, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)} in {self.name}")
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.sources[part], index - int(self._starts[part])

    def entry(self, index: int) -> MeshEntry:
        source, local = self._locate(index)
        entry = source.entry(local)
        return replace(entry, label=self.classes.index(source.classes[entry.label]))

    def load(self, index: int) -> Mesh:
        source, local = self._locate(index)
        return source.load(local)


def balanced_subset(source: MeshSource, num_objects: int, seed: int) -> Subset:
    """Choose objects by a seed, with as equal class counts as the source allows.

    Classes are visited in turn and each gives its next object of a seeded order, so a smaller choice with the same seed
    is the beginning of a larger one.

    Args:
        source: to choose from.
        num_objects: to choose.
        seed: seed of the choice.

    Raises:
        MeshSourceError: If the source has fewer objects.
    """
    if num_objects > len(source):
        raise MeshSourceError(f"{num_objects} objects asked for, but {source.name} has {len(source)}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5EED]))
    labels = np.array([source.entry(i).label for i in range(len(source))])
    turn, priority = np.zeros(len(labels), int), rng.permutation(len(source.classes))[labels]
    for label in range(len(source.classes)):
        members = np.flatnonzero(labels == label)
        turn[members] = rng.permutation(len(members))
    return Subset(source, np.lexsort([priority, turn])[:num_objects].tolist())


def choose_classes(available: Sequence[str], wanted: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Return the wanted classes, or all, sorted.

    Args:
        available: classes of the source.
        wanted: names; None is all.
        where: name of the source, for the message.

    Raises:
        MeshSourceError: Naming the classes that do not exist and those that do.
    """
    unknown = sorted(set(wanted or ()) - set(available))
    if unknown:
        raise MeshSourceError(f"{where} has no class {', '.join(unknown)}; it has {', '.join(sorted(available))}")
    return tuple(sorted(set(wanted or available)))
