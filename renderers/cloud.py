"""Point clouds of meshes: area-weighted points with the normals and colours that the renderers give them."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.cloud import Cloud
from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.face_attributes import FaceAttributes
from equissl.renderers.surface import albedo, normals
from equissl.renderers.traced_mesh import Hits, check_mesh
from equissl.util.srgb import srgb_encode


def sample_cloud(mesh: Mesh, count: int, rng: np.random.Generator) -> Cloud:
    """Draw points of a mesh's surface, independent and uniform over its area.

    Any part of the points is therefore a sample of the same kind. Inner and transparent faces count like the others.
    Normals are interpolated where the mesh has them, on the side from which a face's corners run anticlockwise: the
    outer side in a file that winds its faces so. Colours are of material, texture and corners, without light.

    Args:
        mesh: with its centre at the origin.
        count: P, at least 1.
        rng: that draws.

    Raises:
        ValueError: for fewer than one point.
        RendererError: for a mesh that cannot be drawn, or has no area.
    """
    if count < 1:
        raise ValueError(f"expected at least 1 point, got {count}")
    check_mesh(mesh)
    face, second, third = _draw_places(mesh, count, rng)
    corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
    weights = np.stack([1 - second - third, second, third], axis=1)
    points = (weights[:, :, None] * corners).sum(axis=1)
    attributes, weight = FaceAttributes(mesh), np.float32
    hits = Hits(np.arange(count), np.zeros(count, np.float32), face, second.astype(weight), third.astype(weight))
    outwards = attributes.face_records[face, FaceAttributes.NORMAL].T
    _, normal = normals(attributes, hits, (-outwards[0], -outwards[1], -outwards[2]))
    colours = srgb_encode(albedo(attributes, hits).T) * 255 + 0.5
    return Cloud(points.astype("<f4"), np.ascontiguousarray(normal.T, "<f4"), colours.astype(np.uint8))


def _draw_places(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw faces (P,) by their area, and the weights (P,) of their second and third corners.

    Uniform in a triangle: a point of the parallelogram is folded back over the diagonal.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = np.cumsum(area)
    if not total[-1] > 0:
        raise RendererError(f"mesh {mesh.name!r}: expected faces with an area, got none")
    draws = rng.random((count, 3))
    face = np.searchsorted(total, draws[:, 0] * total[-1], side="right").astype(np.int32)
    folded = draws[:, 1] + draws[:, 2] > 1
    second, third = (np.where(folded, 1 - draws[:, i], draws[:, i]) for i in (1, 2))
    return face, second, third
