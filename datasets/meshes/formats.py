"""Mesh files by their extension; those without a reader here through trimesh."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.gltf import read_gltf
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.obj import read_obj
from equissl.datasets.meshes.parts import join_meshes
from equissl.datasets.meshes.stl import decode_stl
from equissl.datasets.meshes.surfaces import read_surface

#: Extension -> the file's up axis where the user does not say: glTF fixes y; OBJ exporters and ShapeNet write y; the
#: others come from CAD and scanning, where z is the habit.
DEFAULT_UP = {"obj": "y", "glb": "y", "gltf": "y", "off": "z", "ply": "z", "stl": "z"}


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
    try:
        if extension == "stl":
            return decode_stl(data, name)
        gltf = extension in ("glb", "gltf")
        return join_meshes(read_gltf(files, path, data) if gltf else _read_parts(data, extension), name)
    except MeshError:
        raise
    # damaged bytes leave parsers as almost any exception: IndexError, struct.error, KeyError, recursion ...
    except Exception as error:
        raise MeshError(f"{name}: {path} cannot be read as {extension}: {type(error).__name__}: {error}") from error


def _read_parts(data: bytes, extension: str) -> list[Mesh]:
    import trimesh

    with _unlogged("trimesh"):
        scene = trimesh.load(io.BytesIO(data), file_type=extension, process=False)
        parts = scene.dump() if isinstance(scene, trimesh.Scene) else [scene]
        return [_convert(p) for p in parts if isinstance(p, trimesh.Trimesh) and len(p.faces)]


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


def _convert(part: Any) -> Mesh:
    """One trimesh geometry with its texture, its colours, or plain grey."""
    faces = np.asarray(part.faces, np.int32)
    if faces.min() < 0 or faces.max() >= len(part.vertices):
        raise ValueError(f"face indices {faces.min()}..{faces.max()} of {len(part.vertices)} vertices")
    surface = read_surface(part, faces)
    normals = None
    if "vertex_normals" in part._cache.cache:  # only where the file had them; asking computes them
        normals = np.asarray(part.vertex_normals, np.float32)[faces]
    return Mesh(
        vertices=np.asarray(part.vertices, np.float64),
        faces=faces,
        face_material=np.zeros(len(faces), np.int32),
        corner_uv=surface.uv,
        corner_normals=normals,
        materials=(surface.material,),
        warnings=surface.warnings,
    )
