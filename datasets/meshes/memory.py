"""Cache of the meshes used last, in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.datasets.meshes.source import MeshSource


class MeshMemory:
    """Cache of a source's meshes that keeps those used last.

    Renderers recognise a mesh that they have prepared by the object itself, so the same one comes again.

    Args:
        source: source of meshes.
        megabytes: most that is kept; one larger mesh is given but not kept.
    """

    def __init__(self, source: MeshSource, megabytes: int) -> None:
        self.source, self.limit = source, megabytes << 20
        self._kept: OrderedDict[int, Mesh] = OrderedDict()
        self._bytes = 0

    def __reduce__(self) -> tuple:
        return MeshMemory, (self.source, self.limit >> 20)

    def load(self, index: int) -> Mesh:
        """Load the mesh ``index`` of the source.

        Raises:
            MeshError: see the source.
        """
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        mesh = self.source.load(index)
        if (size := mesh_bytes(mesh)) <= self.limit:
            self._kept[index] = mesh
            self._bytes += size
        while self._bytes > self.limit:
            self._bytes -= mesh_bytes(self._kept.popitem(last=False)[1])
        return mesh


def mesh_bytes(mesh: Mesh) -> int:
    """Return the bytes of a mesh's arrays, textures included."""
    arrays = (getattr(mesh, field.name) for field in fields(mesh))
    textures = {id(m.texture): m.texture for m in mesh.materials}
    return sum(array.nbytes for array in (*arrays, *textures.values()) if isinstance(array, np.ndarray))
