"""PLY files as meshes."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.parts import unit_normals
from equissl.datasets.meshes.ply_faces import find_faces
from equissl.datasets.meshes.ply_looks import choose_texture, columns, load_textures, read_colours, read_coordinates
from equissl.datasets.ply import Table, decode_ply


def read_ply(files: Files, path: str, data: bytes, name: str) -> Mesh:
    """Decode a PLY file, as it is: no turn, no scaling.

    A texture needs a ``TextureFile`` in the comments and coordinates of the vertices or of the corners (``texcoord``);
    it replaces colours. Colours are sRGB, of the vertices or else of the faces.

    Args:
        files: Where its textures lie.
        path: The file's path in ``files``.
        data: Its bytes.
        name: For messages.

    Raises:
        MeshError: For a file without faces.
        ValueError: For a file that is damaged or no PLY.
    """
    file, warnings = decode_ply(data), list[str]()
    vertex = file.tables.get("vertex", Table())
    vertices = columns(vertex, ("x", "y", "z"))
    if vertices is None:
        raise ValueError("expected an element vertex with x, y and z")
    if file.trailing:
        warnings.append(f"{file.trailing} bytes or numbers behind the last element are not read")
    faces = find_faces(file, vertices)
    if not len(faces.index):
        raise MeshError(f"{name}: empty mesh ({len(vertices)} vertices, 0 faces)")
    mesh = Mesh(vertices, faces.index.astype(np.int32), np.zeros(len(faces.index), np.int32), None, None, (), name)
    normals = columns(vertex, ("nx", "ny", "nz"))
    if normals is not None and np.nan_to_num(normals).any():
        normals = unit_normals(normals[faces.index].astype(np.float32), mesh)
    textures = load_textures(files, path, file, warnings)
    uv = read_coordinates(file, faces)
    texture = choose_texture(file, faces, textures, uv, warnings)
    colours = read_colours(file, faces, texture < 0, warnings)
    plain = Material() if colours is None else Material(diffuse=np.ones(3, np.float32))
    return Mesh(
        vertices=vertices,
        faces=mesh.faces,
        face_material=np.where(texture < 0, len(textures), texture).astype(np.int32),
        corner_uv=np.nan_to_num(uv, posinf=0, neginf=0).astype(np.float32) if (texture >= 0).any() else None,
        corner_normals=normals,
        materials=(*(Material(texture=pixels) for pixels in textures), plain),
        name=name,
        warnings=tuple(warnings),
        corner_colours=colours,
    )
