"""Mesh files by their extension; those without a reader here through trimesh."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.glb import check_glb
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.obj import read_obj
from equissl.datasets.meshes.stl import decode_stl
from equissl.datasets.meshes.surfaces import read_surface

#: Extension -> the file's up axis where the user does not say: glTF fixes y; OBJ exporters and ShapeNet write y; the
#: others come from CAD and scanning, where z is the habit.
DEFAULT_UP = {"obj": "y", "glb": "y", "off": "z", "ply": "z", "stl": "z"}


def read_mesh(files: Files, path: str, name: str) -> Mesh:
    """Decode ``path`` by its extension, without turning or scaling it.

    Args:
        files: source of the bytes.
        path: in it.
        name: name of the mesh, for messages.

    Raises:
        MeshError: For an unknown extension or bytes that are not what the extension says.
    """
    extension = path.rsplit(".", 1)[-1].lower()
    if extension not in DEFAULT_UP:
        raise MeshError(f"{name}: expected a file of {', '.join(DEFAULT_UP)}, got {path}")
    if extension == "obj":
        return read_obj(files, path, name)
    data = files.read(path)
    if data is None:
        raise MeshError(f"{name}: {path} is missing in {files.location}")
    if extension == "off":
        # thousands of ModelNet's files have the counts right behind the keyword: OFF123 456 0
        data = re.sub(rb"\A(\s*C?OFF)(?=\d)", rb"\1\n", data)
    import trimesh

    try:
        if extension == "stl":
            return decode_stl(data, name)
        if extension == "glb":
            check_glb(data)
        with _unlogged("trimesh"):
            scene = trimesh.load(io.BytesIO(data), file_type=extension, process=False)
            parts = scene.dump() if isinstance(scene, trimesh.Scene) else [scene]
            return _join([_convert(p) for p in parts if isinstance(p, trimesh.Trimesh) and len(p.faces)], name)
    except MeshError:
        raise
    # damaged bytes leave trimesh's parsers as almost any exception: IndexError, struct.error, KeyError, recursion ...
    except Exception as error:
        raise MeshError(f"{name}: {path} cannot be read as {extension}: {type(error).__name__}: {error}") from error


@contextmanager
def _unlogged(library: str) -> Iterator[None]:
    """Silence a library's log about a damaged file: its tracebacks are in the error already."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _join(parts: list[Mesh], name: str) -> Mesh:
    if not parts:
        raise MeshError(f"{name}: empty mesh (no faces)")
    vertex_start = np.cumsum([0, *(len(p.vertices) for p in parts)])
    material_start = np.cumsum([0, *(len(p.materials) for p in parts)])
    has_uv = any(p.corner_uv is not None for p in parts)
    has_normals = any(p.corner_normals is not None for p in parts)
    has_colours = any(p.corner_colours is not None for p in parts)
    return Mesh(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate([p.faces + s for p, s in zip(parts, vertex_start, strict=False)]).astype(np.int32),
        face_material=np.concatenate([p.face_material + s for p, s in zip(parts, material_start, strict=False)]).astype(
            np.int32
        ),
        corner_uv=np.concatenate([_uv_or_zero(p) for p in parts]) if has_uv else None,
        corner_normals=np.concatenate([_normals_or_flat(p) for p in parts]) if has_normals else None,
        materials=tuple(m for p in parts for m in p.materials),
        name=name,
        warnings=tuple(w for p in parts for w in p.warnings),
        corner_colours=np.concatenate([_colours_or_white(p) for p in parts]) if has_colours else None,
    )


def _uv_or_zero(mesh: Mesh) -> np.ndarray:
    return np.zeros((len(mesh.faces), 3, 2), np.float32) if mesh.corner_uv is None else mesh.corner_uv


def _normals_or_flat(mesh: Mesh) -> np.ndarray:
    if mesh.corner_normals is not None:
        return mesh.corner_normals
    return np.repeat(mesh.face_normals()[:, None], 3, axis=1)


def _colours_or_white(mesh: Mesh) -> np.ndarray:
    return np.ones((len(mesh.faces), 3, 3), np.float32) if mesh.corner_colours is None else mesh.corner_colours


def _convert(part: Any) -> Mesh:
    """One trimesh geometry with its texture, its colours, or plain grey."""
    faces = np.asarray(part.faces, np.int32)
    if faces.min() < 0 or faces.max() >= len(part.vertices):
        raise ValueError(f"face indices {faces.min()}..{faces.max()} of {len(part.vertices)} vertices")
    surface = read_surface(part, faces)
    normals = None
    if "vertex_normals" in part._cache.cache:  # only where the file had them; asking computes them
        normals = np.asarray(part.vertex_normals, np.float32)[faces]
    mesh = Mesh(
        vertices=np.asarray(part.vertices, np.float64),
        faces=faces,
        face_material=np.zeros(len(faces), np.int32),
        corner_uv=surface.uv,
        corner_normals=normals,
        materials=(surface.material,),
        warnings=surface.warnings,
    )
    return mesh if surface.visible is None else _keep_faces(mesh, surface.visible)


def _keep_faces(mesh: Mesh, keep: np.ndarray) -> Mesh:
    return replace(
        mesh,
        faces=mesh.faces[keep],
        face_material=mesh.face_material[keep],
        corner_uv=None if mesh.corner_uv is None else mesh.corner_uv[keep],
        corner_normals=None if mesh.corner_normals is None else mesh.corner_normals[keep],
        corner_colours=None if mesh.corner_colours is None else mesh.corner_colours[keep],
    )
