"""Faces of PLY files: polygons of any number of corners, and strips of triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equissl.datasets.meshes.polygons import triangulate_ragged
from equissl.datasets.ply import Lists, PlyFile, Table

_INDEX = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class PlyFaces:
    """Triangles.

    Attributes:
        index: (M, 3) vertices.
        rows: (M,) rows of the element ``face``; -1 for those of strips.
        sizes: (M,) corners of those rows.
        corners: (M, 3) numbers of the corners in their rows.
    """

    index: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray
    corners: np.ndarray


def find_faces(file: PlyFile, vertices: np.ndarray) -> PlyFaces:
    """Find the triangles of polygons, then of strips.

    Args:
        file: decoded.
        vertices: (N, 3).

    Raises:
        ValueError: for indices that are no vertices.
    """
    polygons = _index_lists(file.tables.get("face", Table()))
    starts = np.cumsum(polygons.sizes) - polygons.sizes
    index, places, rows = triangulate_ragged(vertices, polygons.sizes, polygons.values)
    strips = _cut_strips(_index_lists(file.tables.get("tristrips", Table())))
    if len(strips) and (strips.min() < 0 or strips.max() >= len(vertices)):
        raise ValueError(f"strips use vertices {strips.min()}..{strips.max()} of {len(vertices)}")
    return PlyFaces(
        np.concatenate([index, strips]),
        np.concatenate([rows, np.full(len(strips), -1)]),
        np.concatenate([polygons.sizes[rows], np.full(len(strips), 3)]),
        np.concatenate([places - starts[rows][:, None], np.zeros_like(strips)]),
    )


def _index_lists(table: Table) -> Lists:
    found = next((table.lists[name] for name in _INDEX if name in table.lists), None)
    if found is None:
        whole = [lists for key, lists in table.lists.items() if table.kinds[key].kind in "iu"]
        found = whole[0] if len(whole) == 1 else Lists(np.zeros(0, np.int64), np.zeros(0, np.int64))
    values = found.values.astype(np.int64)
    if (values != found.values).any():
        raise ValueError("expected whole numbers as indices of vertices")
    return Lists(found.sizes.astype(np.int64), values)


def _cut_strips(strips: Lists) -> np.ndarray:
    """Triangles (M, 3) of strips, which -1 ends too. Every second one is turned; equal corners leave one out."""
    ends = np.cumsum(strips.sizes)
    runs = np.insert(strips.values, ends, -1) if len(ends) else np.zeros(0, np.int64)
    place = np.arange(len(runs))
    begin = np.maximum.accumulate(np.where(runs < 0, place + 1, 0)) if len(runs) else place
    triangles = np.stack([runs[:-2], runs[1:-1], runs[2:]], axis=1) if len(runs) > 2 else np.zeros((0, 3), np.int64)
    odd = ((place[: len(triangles)] - begin[: len(triangles)]) % 2 == 1)[:, None]
    triangles = np.where(odd, triangles[:, [1, 0, 2]], triangles)
    a, b, c = triangles.T
    return triangles[(triangles != -1).all(axis=1) & (a != b) & (b != c) & (c != a)]
