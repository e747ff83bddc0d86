"""Wavefront OBJ files with their material libraries, textures and vertex colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.libraries import Libraries
from equissl.datasets.meshes.mesh import Material, Mesh, MeshError
from equissl.datasets.meshes.obj_statements import Statements, decode_faces, decode_table, sort_statements
from equissl.datasets.meshes.parts import unit_normals
from equissl.datasets.meshes.polygons import triangulate
from equissl.util.srgb import srgb_decode


def read_obj(files: Files, path: str, name: str) -> Mesh:
    """Decode an OBJ file with its material libraries and textures, as it is: no turn, no scaling.

    Polygons are triangulated, concave ones too; statement order is kept, so a polygon of n corners gives n - 2
    consecutive triangles. Without ``vn`` a face has its own flat normal. Colours of vertices (``v x y z r g b``, sRGB)
    multiply the material; faces without a material show them alone.

    Args:
        files: Where the file, its libraries and textures lie.
        path: The file's path in ``files``.
        name: For messages.

    Raises:
        MeshError: For a file that is missing or not OBJ.
    """
    data = files.read(path)
    if data is None:
        raise MeshError(f"{name}: {path} is missing in {files.location}")
    try:
        return _build(data, files, path, name)
    except (ValueError, IndexError, OverflowError) as error:
        raise MeshError(f"{name}: {path} cannot be read as OBJ: {error}") from error


def _build(data: bytes, files: Files, path: str, name: str) -> Mesh:
    found, warnings = sort_statements(data), list[str]()
    table, polygons = decode_table(found.v, 3), decode_faces(found.f)
    vertices = table[:, :3]
    if not polygons:
        raise MeshError(f"{name}: empty mesh ({len(vertices)} vertices, 0 faces)")
    for group in polygons:
        if group.corners[..., 0].max() >= len(vertices) or group.corners[..., 0].min() < 0:
            raise ValueError(f"a face uses a vertex outside the {len(vertices)} in the file")
    corners, lines = triangulate(vertices, [(g.corners, g.lines) for g in polygons])
    colours = _vertex_colours(table, found.paint, warnings)
    materials = _materials(found, files, path, colours is not None, warnings)
    mesh = Mesh(
        vertices=vertices,
        faces=corners[..., 0].astype(np.int32),
        face_material=np.asarray(found.f_material, np.int32)[lines],
        corner_uv=None,
        corner_normals=None,
        materials=materials,
        name=name,
        corner_colours=None if colours is None else colours[corners[..., 0]],
    )
    corner_uv = _corner_uv(mesh, found.vt, corners[..., 1], warnings)
    corner_normals = _corner_normals(mesh, decode_table(found.vn, 3)[:, :3], corners[..., 2])
    return replace(mesh, corner_uv=corner_uv, corner_normals=corner_normals, warnings=tuple(warnings))


def _vertex_colours(table: np.ndarray, paint: list[bytes], warnings: list[str]) -> np.ndarray | None:
    """Linear colours (N, 3) of vertices; white for those that have none, None where all are white."""
    colours = table[:, 3:6]
    if paint:
        painted = np.frombuffer(bytes.fromhex(b"".join(paint).decode("ascii")), np.uint8)
        if painted.size == 4 * len(table):
            colours = painted.reshape(-1, 4)[:, 1:].astype(float)
        else:
            warnings.append(f"{painted.size / 4:g} colours of {len(table)} vertices: they are not used")
    given = np.isfinite(colours).all(axis=1) if colours.shape[1] == 3 else np.zeros(len(table), bool)
    if not given.any():
        return None
    # some programs write bytes instead of shares
    encoded = colours[given] / (255 if colours[given].max() > 1 else 1)
    linear = np.ones((len(table), 3), np.float32)
    linear[given] = srgb_decode(encoded.clip(0, 1))
    return None if (linear == 1).all() else linear


def _materials(found: Statements, files: Files, path: str, coloured: bool, warnings: list[str]) -> tuple[Material, ...]:
    """Material of each name; plain where it is not defined: grey, or white under the colours of vertices."""
    chosen = Libraries(files, path, found.libraries, warnings).choose(found.material_names)
    plain = Material(diffuse=np.ones(3, np.float32)) if coloured else Material()
    return tuple(
        replace(plain, name=name) if material is None else material
        for name, material in zip(found.material_names, chosen, strict=True)
    )


def _lookup(table: np.ndarray, index: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table at indices that may be absent (-1 gives zeros), and the mask of those present."""
    if index.max(initial=-1) >= len(table) or index.min(initial=0) < -1:
        raise ValueError(f"{what} index {int(index.max()) + 1} lies outside the {len(table)} in the file")
    present = index >= 0
    rows = np.zeros((*index.shape, table.shape[1]), np.float32)
    rows[present] = table[index[present]]
    return rows, present


def _corner_uv(mesh: Mesh, statements: list[bytes], index: np.ndarray, warnings: list[str]) -> np.ndarray | None:
    textured = np.array([m.texture is not None for m in mesh.materials], bool)[mesh.face_material]
    if not textured.any():
        return None
    table = decode_table(statements, 1)
    table = np.pad(table, ((0, 0), (0, 1)))[:, :2]  # v may be left out
    rows, present = _lookup(table, index, "texture coordinate")
    rows[~np.isfinite(rows)] = 0
    if missing := int((textured & ~present.all(axis=1)).sum()):
        warnings.append(f"{missing} textured faces have no texture coordinates; (0, 0) is used")
    return rows


def _corner_normals(mesh: Mesh, table: np.ndarray, index: np.ndarray) -> np.ndarray | None:
    """Unit normals of the file; the face's own normal where the file has none or a useless one."""
    if not len(table) or (index < 0).all():
        return None
    return unit_normals(_lookup(table, index, "normal")[0], mesh)
