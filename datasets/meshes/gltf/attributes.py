"""Arrays of a glTF primitive, from its accessors or unpacked by Draco."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from equissl.datasets.meshes.gltf.accessors import fractions, read_accessor
from equissl.datasets.meshes.gltf.checks import DRACO
from equissl.datasets.meshes.gltf.document import Document


class Attributes:
    """Attributes of the vertices of a primitive, by their names in the file, and its indices.

    Args:
        document: the file. Where it requires Draco, the arrays are unpacked; else the accessors hold them, too.
        data: the primitive.
    """

    def __init__(self, document: Document, data: dict[str, Any]) -> None:
        self.document, self.accessors, self._indices = document, dict(data["attributes"]), data.get("indices")
        packed = (data.get("extensions") or {}).get(DRACO)
        self._unpacked: dict[str, np.ndarray] = {}
        if packed is not None and DRACO in (document.tree.get("extensionsRequired") or []):
            self._unpacked = dict(_unpack(document, packed))

    def __contains__(self, name: str) -> bool:
        return name in self.accessors

    def __iter__(self) -> Iterator[str]:
        return iter(self.accessors)

    def read(self, name: str, *, normalised: bool = False) -> np.ndarray:
        """Return an array (N, components), see :func:`~equissl.datasets.meshes.gltf.accessors.read_accessor`.

        Args:
            name: of the attribute.
            normalised: take integers as fractions even where the file does not say so.
        """
        accessor = self.accessors[name]
        if (values := self._unpacked.get(name)) is None:
            return read_accessor(self.document, accessor, normalised=normalised)
        if values.dtype.kind == "f":
            return values.astype(np.float64)
        wanted = normalised or self.document.item("accessors", accessor).get("normalized")
        return fractions(values) if wanted else values

    def indices(self, count: int) -> np.ndarray:
        """Return the indices (n,) of the vertices in the order of their use; all ``count`` of them by default."""
        if (values := self._unpacked.get("")) is None:
            values = np.arange(count) if self._indices is None else read_accessor(self.document, self._indices)
        return values.reshape(-1).astype(np.int64)


def _unpack(document: Document, packed: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays by name, and the indices by an empty name."""
    import DracoPy

    mesh = DracoPy.decode(bytes(document.view(packed["bufferView"])))
    for name, number in packed["attributes"].items():
        yield name, np.asarray(mesh.get_attribute_by_unique_id(number)["data"])
    yield "", np.asarray(mesh.faces)
