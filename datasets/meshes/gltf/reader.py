"""A glTF file as one mesh.

The reader is our own: trimesh drops or misreads normals, colours, transforms of textures, second sets of coordinates,
sparse and normalised arrays, fans, skins and copies, and pygltflib decodes no array at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.gltf.checks import check_document
from equissl.datasets.meshes.gltf.document import Document, open_document
from equissl.datasets.meshes.gltf.materials import Look, read_look, show
from equissl.datasets.meshes.gltf.nodes import instance_matrices, shown_nodes, skin_matrices, world_matrices
from equissl.datasets.meshes.gltf.primitives import Primitive, place, read_primitive
from equissl.datasets.meshes.mesh import Material, Mesh
from equissl.datasets.meshes.parts import unit_normals


def read_gltf(files: Files, path: str, data: bytes) -> list[Mesh]:
    """Decode the scene of a GLB or ``.gltf`` file, as it is (y up, metres), in the pose and shape that it rests in.

    Args:
        files: where it lies, with its buffers and images.
        path: in ``files``.
        data: its bytes.

    Returns:
        A mesh per primitive and copy, in float64.

    Raises:
        ValueError, KeyError, TypeError, IndexError: for damaged files; where it needs an extension that is not read.
    """
    document = open_document(files, path, data)
    scene = _Scene(document)
    scene.warnings += check_document(document)
    parts = scene.parts()
    return [replace(parts[0], warnings=(*scene.warnings, *parts[0].warnings)), *parts[1:]] if parts else []


class _Scene:
    """Decoder that reads every primitive and material once, however often it is shown."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.warnings: list[str] = []
        self._looks: dict[int | None, Look] = {}
        self._primitives: dict[tuple[int, tuple[float, ...]], list[_Part]] = {}

    def parts(self) -> list[Mesh]:
        found: list[Mesh] = []
        world = world_matrices(self.document)
        for index in dict.fromkeys(shown_nodes(self.document)):
            node = self.document.item("nodes", index)
            if "mesh" not in node:
                continue
            skin = skin_matrices(self.document, node["skin"], world) if "skin" in node else None
            parts = self._read(node)
            for copy in instance_matrices(self.document, node):
                found += [part.placed(world[index] @ copy, skin) for part in parts]
        return found

    def _read(self, node: dict[str, Any]) -> list[_Part]:
        mesh = self.document.item("meshes", node["mesh"])
        weights = tuple(node.get("weights") or mesh.get("weights") or ())
        key = (node["mesh"], weights)
        if key not in self._primitives:
            found = [read_primitive(self.document, data, weights) for data in mesh["primitives"]]
            if None in found:
                self.warnings.append("points and lines are not drawn")
            self._primitives[key] = [self._dress(primitive) for primitive in found if primitive is not None]
        return self._primitives[key]

    def _dress(self, primitive: Primitive) -> _Part:
        if primitive.material not in self._looks:
            self._looks[primitive.material] = read_look(self.document, primitive.material)
        return _make_part(primitive, self._looks[primitive.material])


@dataclass(frozen=True, eq=False)
class _Part:
    """A primitive with its looks.

    Attributes:
        primitive: with the faces that are not cut out.
        material: of all of them.
        uv: Texture coordinates (N, 2) of its vertices as a mesh has them, or None.
        colours: (N, 3) linear, or None.
        warnings: as a mesh's.
    """

    primitive: Primitive
    material: Material
    uv: np.ndarray | None
    colours: np.ndarray | None
    warnings: tuple[str, ...]

    def placed(self, matrix: np.ndarray, skin: np.ndarray | None) -> Mesh:
        there = place(self.primitive, matrix, skin)
        mesh = Mesh(
            vertices=there.positions,
            faces=there.faces.astype(np.int32),
            face_material=np.zeros(len(there.faces), np.int32),
            corner_uv=None if self.uv is None else self.uv[there.faces],
            corner_normals=None,
            materials=(self.material,),
            warnings=self.warnings,
            corner_colours=None if self.colours is None else self.colours[there.faces],
        )
        if there.normals is None:
            return mesh
        return replace(mesh, corner_normals=unit_normals(there.normals.astype(np.float32)[there.faces], mesh))


def _make_part(primitive: Primitive, look: Look) -> _Part:
    faces, warnings, uv = primitive.faces, list(look.warnings), None
    if look.texture is not None:
        uv = look.texture.coordinates(primitive.uv.get(look.texture.uv_set, np.zeros((len(primitive.positions), 2))))
        if look.texture.uv_set not in primitive.uv:
            warnings.append("a texture has no coordinates")
        elif look.texture.repeats_wrongly(uv[faces]):
            warnings.append("a texture repeats where the file extends its edge")
    colours = None if primitive.colours is None else np.nan_to_num(primitive.colours, nan=1.0).clip(0, 1)
    alpha = colours[:, 3][faces] if colours is not None and colours.shape[1] > 3 else None
    shown, opacity, differs = show(look, None if uv is None else uv[faces], alpha)
    if differs:
        warnings.append("opacity is applied by faces, not by pixels")
    return _Part(
        primitive=primitive if shown is None else replace(primitive, faces=faces[np.flatnonzero(shown)]),
        material=look.material if opacity == 1 else replace(look.material, alpha=opacity),
        uv=uv,
        colours=None if colours is None else colours[:, :3].astype(np.float32),
        warnings=tuple(warnings),
    )
