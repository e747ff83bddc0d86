"""Reader of glTF 2.0: GLB, and `.gltf` with buffers and images beside it."""

from __future__ import annotations

from equissl.datasets.meshes.gltf.reader import read_gltf

__all__ = ["read_gltf"]
