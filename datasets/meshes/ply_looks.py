"""Looks of PLY files: colours, and textures named in comments, as MeshLab and photogrammetry write them."""

from __future__ import annotations

import posixpath
import re

import numpy as np

from equissl.datasets.meshes.beside import find_beside
from equissl.datasets.meshes.colours import linear_colours
from equissl.datasets.meshes.files import Files
from equissl.datasets.meshes.mesh import Material
from equissl.datasets.meshes.ply_faces import PlyFaces
from equissl.datasets.meshes.text import decode_name
from equissl.datasets.meshes.textures import decode_texture
from equissl.datasets.ply import PlyFile, Table

_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
_RGB = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_TEXTURE = re.compile(rb"texture_?file[\s:=]+(.+)", re.IGNORECASE)


def columns(table: Table, names: tuple[str, ...]) -> np.ndarray | None:
    """Put scalars side by side, (N, C) float64; None where one is missing.

    Args:
        table: of an element.
        names: C columns.
    """
    if not all(name in table.scalars for name in names):
        return None
    return np.stack([table.scalars[name].astype(np.float64) for name in names], axis=1)


def load_textures(files: Files, path: str, file: PlyFile, warnings: list[str]) -> list[np.ndarray | None]:
    """Load the textures that the comments name, by number; None for those that are missing or damaged.

    Args:
        files: Where they lie.
        path: The PLY file's path in ``files``.
        file: decoded.
        warnings: Grows by one sentence per finding.
    """
    names = [decode_name(match[1]).strip() for comment in file.comments if (match := _TEXTURE.match(comment))]
    return [_load(files, posixpath.dirname(path), name, warnings) for name in names]


def _load(files: Files, folder: str, name: str, warnings: list[str]) -> np.ndarray | None:
    found = find_beside(files, folder, name)
    if found is None:
        warnings.append(f"texture {name!r} is missing")
        return None
    try:
        return decode_texture(found[1])
    except (OSError, ValueError, SyntaxError) as error:
        warnings.append(f"texture {name!r} cannot be decoded ({error})")
        return None


def read_coordinates(file: PlyFile, faces: PlyFaces) -> np.ndarray:
    """Read texture coordinates (M, 3, 2): the corners' own, else their vertices'; nan where there are none.

    Args:
        file: decoded.
        faces: its triangles.
    """
    uv = np.full((*faces.index.shape, 2), np.nan)
    vertex, face = file.tables["vertex"], file.tables.get("face", Table())
    if (found := _first(vertex, _UV)) is not None:
        uv[:] = found[faces.index]
    if (own := face.lists.get("texcoord")) is not None:
        chosen = np.flatnonzero(faces.rows >= 0)
        chosen = chosen[own.sizes[faces.rows[chosen]] == 2 * faces.sizes[chosen]]
        start = (np.cumsum(own.sizes) - own.sizes)[faces.rows[chosen]]
        place = start[:, None] + 2 * faces.corners[chosen]
        uv[chosen] = np.stack([own.values[place], own.values[place + 1]], axis=-1)
    return uv


def _first(table: Table, choices: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    return next((found for names in choices if (found := columns(table, names)) is not None), None)


def choose_texture(
    file: PlyFile, faces: PlyFaces, textures: list[np.ndarray | None], uv: np.ndarray, warnings: list[str]
) -> np.ndarray:
    """Choose the texture of each triangle, (M,) numbers; -1 for those without, or without coordinates.

    Args:
        file: decoded.
        faces: its triangles.
        textures: by number.
        uv: (M, 3, 2), nan where there are none.
        warnings: Grows by one sentence per finding.
    """
    has_uv = np.isfinite(uv).all(axis=(1, 2))
    if not textures and has_uv.any():
        warnings.append("there are texture coordinates, but no texture is named")
    number = np.zeros(len(faces.index), np.int64)
    face, vertex = (file.tables.get(name, Table()).scalars.get("texnumber") for name in ("face", "vertex"))
    if vertex is not None:
        number = vertex[faces.index[:, 0]].astype(np.int64)
    if face is not None:
        number = np.where(faces.rows >= 0, face[faces.rows], number).astype(np.int64) if len(face) else number
    loaded = np.array([texture is not None for texture in textures], bool)
    known = (number >= 0) & (number < len(textures))
    textured = known & loaded[np.where(known, number, 0)] if len(loaded) else known
    if missing := int((textured & ~has_uv).sum()):
        warnings.append(f"{missing} faces of a texture have no texture coordinates")
    return np.where(textured & has_uv, number, -1)


def read_colours(file: PlyFile, faces: PlyFaces, plain: np.ndarray, warnings: list[str]) -> np.ndarray | None:
    """Read the linear colours of corners (M, 3, 3), of vertices or else of faces; white where there is a texture.

    Args:
        file: decoded.
        faces: its triangles.
        plain: (M,) True for those without a texture.
        warnings: Grows by one sentence per finding.

    Returns:
        None where there are no colours, or textures everywhere.
    """
    colours = _linear(file.tables["vertex"], faces.index, warnings)
    if colours is None:
        colours = _linear(file.tables.get("face", Table()), np.repeat(faces.rows[:, None], 3, axis=1), warnings)
    if colours is None or not plain.any():
        return None
    colours[~plain] = 1
    return colours


def _linear(table: Table, rows: np.ndarray, warnings: list[str]) -> np.ndarray | None:
    """Colours of rows (M, 3) of an element, the plain grey for the row -1."""
    names = next((names for names in _RGB if all(name in table.scalars for name in names)), None)
    if names is None:
        return None
    colours = linear_colours(np.stack([table.scalars[n] for n in names], axis=1), table.kinds[names[0]], warnings)
    return np.concatenate([colours, Material().diffuse[None]])[rows]
