"""Mesh files by their extension."""

from __future__ import annotations

from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.gltf import read_gltf
from equissl.datasets.meshes.mesh import Mesh, MeshError
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.obj import read_obj
from equissl.datasets.meshes.off import decode_off
from equissl.datasets.meshes.parts import join_meshes
from equissl.datasets.meshes.ply import read_ply
from equissl.datasets.meshes.stl import decode_stl

#: Extension -> the file's up axis where the user does not say: glTF fixes y; OBJ exporters and ShapeNet write y; the
#: others come from CAD and scanning, where z is the habit.
DEFAULT_UP: dict[str, Up] = {"obj": "y", "glb": "y", "gltf": "y", "off": "z", "ply": "z", "stl": "z"}


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
    try:
        if extension in ("glb", "gltf"):
            return join_meshes(read_gltf(files, path, data), name)
        if extension == "ply":
            return read_ply(files, path, data, name)
        return decode_off(data, name) if extension == "off" else decode_stl(data, name)
    except MeshError:
        raise
    # damaged bytes leave parsers as almost any exception: IndexError, struct.error, KeyError, recursion ...
    except Exception as error:
        raise MeshError(f"{name}: {path} cannot be read as {extension}: {type(error).__name__}: {error}") from error
