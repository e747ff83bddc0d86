"""Endless parametric objects of everyday classes, named and oriented as the real ones of ``sweethome3d``."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from equissl.datasets.meshes.builder import Builder
from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.meshes.shapes import (
    devices,
    figures,
    fixtures,
    furniture,
    house,
    nature,
    seating,
    storage,
    tableware,
    tools,
)
from equissl.datasets.meshes.source import MeshEntry, MeshSourceError, choose_classes

SHAPES: dict[str, Callable[[Builder], None]] = {
    "bed": furniture.bed,
    "bookcase_shelf": storage.bookcase_shelf,
    "bottle": tableware.bottle,
    "cabinet": storage.cabinet,
    "car": figures.car,
    "chair": seating.chair,
    "cup_glass": tableware.cup_glass,
    "door": house.door,
    "electronics": devices.electronics,
    "hand_tool": tools.hand_tool,
    "lamp": fixtures.lamp,
    "oven_stove": storage.oven_stove,
    "person": figures.person,
    "plant": nature.plant,
    "plug_switch": fixtures.plug_switch,
    "radiator": fixtures.radiator,
    "railing_column": fixtures.railing_column,
    "sofa": seating.sofa,
    "table": furniture.table,
    "tree": nature.tree,
    "window": house.window,
}
PROCEDURAL_CLASSES = tuple(SHAPES)


def make_object(class_name: str, instance: int, seed: int = 0) -> Mesh:
    """Build one object, the same for the same arguments: normalised, upright, its front along +y.

    Args:
        class_name: one of `PROCEDURAL_CLASSES`.
        instance: number of the object in its class.
        seed: seed of the source.
    """
    stream = np.random.SeedSequence([seed, zlib.crc32(class_name.encode()), instance])
    builder = Builder(np.random.default_rng(stream))
    SHAPES[class_name](builder)
    return builder.mesh(_name(class_name, instance, seed))


def _name(class_name: str, instance: int, seed: int) -> str:
    return f"{class_name}/procedural-{seed}-{instance:06d}"


class ProceduralSource:
    """``num_objects`` parametric objects, the classes in turn.

    Instance n of a class does not depend on the number of objects nor on the other classes.

    Args:
        num_objects: How many.
        seed: Of all shapes.
        classes: Only these; all by default.
    """

    name = "procedural"
    endless = PROCEDURAL_CLASSES

    def __init__(self, num_objects: int, seed: int = 0, classes: Sequence[str] | None = None) -> None:
        if num_objects < 1:
            raise MeshSourceError(f"the number of objects must be at least 1, got {num_objects}")
        self.classes = choose_classes(PROCEDURAL_CLASSES, classes, self.name)
        self.num_objects, self.seed = num_objects, seed

    def __len__(self) -> int:
        return self.num_objects

    def entry(self, index: int) -> MeshEntry:
        instance, label = self._locate(index)
        name = _name(self.classes[label], instance, self.seed)
        return MeshEntry(name, label, self.name, licence="CC0", creator="equissl")

    def load(self, index: int) -> Mesh:
        instance, label = self._locate(index)
        return make_object(self.classes[label], instance, self.seed)

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self.num_objects:
            raise IndexError(f"object {index} of {self.num_objects} in {self.name}")
        return divmod(index, len(self.classes))
