"""Triangles with their looks, compared without regard to their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from equissl.datasets.meshes.mesh import Mesh
from equissl.util.srgb import srgb_decode, srgb_encode

#: Points of a triangle where looks are compared: one near each corner, and the centre.
POINTS = np.array([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7], [1 / 3, 1 / 3, 1 / 3]])


@dataclass
class Soup:
    """Triangles in any order, y up.

    Attributes:
        corners: (M, 3, 3) positions.
        normals: (M, 3, 3) unit normals, nan where flat.
        albedo: (M, 4, 3) linear base colour at :data:`POINTS`, nan where a point lies on the edge of a texel.
        kept: (M,) False for those whose normals are not to be compared; None for all.
    """

    corners: np.ndarray
    normals: np.ndarray
    albedo: np.ndarray
    kept: np.ndarray | None = None

    @classmethod
    def join(cls, parts: list[Soup]) -> Soup:
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("corners", "normals", "albedo", "kept")))


def compare(soup: Soup, truth: Soup, *, directions: float = 1e-4, all_normals: bool = True) -> dict[str, float]:
    """Distance of each triangle of ``soup`` from the nearest of ``truth``, which has as many.

    Keys: ``faces`` that differ in number, ``corners`` in units of the extent, ``normals`` and ``albedo`` (as sRGB) that
    differ by more than the given bounds. Only what differs is given.
    """
    if len(soup.corners) != len(truth.corners):
        return {"faces": len(soup.corners) - len(truth.corners)}
    near = cKDTree(truth.corners.mean(axis=1)).query(soup.corners.mean(axis=1))[1]
    if len(np.unique(near)) < len(near):
        return {"faces": 0.5}
    turns = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    apart = np.stack([np.abs(soup.corners[:, turn] - truth.corners[near]).max(axis=(1, 2)) for turn in turns])
    turn = turns[apart.argmin(axis=0)]
    row = np.arange(len(turn))[:, None]
    found = {"corners": apart.min(axis=0).max() / max(np.ptp(truth.corners, axis=(0, 1)).max(), 1e-9)}
    flat = np.cross(truth.corners[:, 1] - truth.corners[:, 0], truth.corners[:, 2] - truth.corners[:, 0])
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    ours, theirs = (
        np.where(np.isnan(n), flat[i][:, None], n) for n, i in ((soup.normals, near), (truth.normals, row[:, 0]))
    )
    apart = np.abs(ours[row, turn] - theirs[near]).max(axis=(1, 2))
    found["normals"] = apart.max() if all_normals else (apart * truth.kept[near]).max()
    albedo = soup.albedo[row, np.concatenate([turn, np.full_like(row, 3)], axis=1)]
    found["albedo"] = np.nan_to_num(np.abs(srgb_encode(albedo) - srgb_encode(truth.albedo[near]))).max()
    bounds = {"corners": 1e-5, "normals": directions, "albedo": 2 / 255}
    return {key: float(value) for key, value in found.items() if not value <= bounds[key]}


def nearest(pixels: np.ndarray, uv: np.ndarray, wrap: tuple[str, str] = ("repeat", "repeat")) -> np.ndarray:
    """Linear colours (..., 3) of a uint8 sRGB image at (..., 2), v downwards; nan within 1e-3 of a texel's edge."""
    size, index, sure = pixels.shape[1::-1], [], np.ones(uv.shape[:-1], bool)
    for axis in (0, 1):
        turns = uv[..., axis]
        if wrap[axis] == "repeat":
            turns = np.mod(turns, 1)
        elif wrap[axis] == "mirror":
            turns = 1 - np.abs(np.mod(turns, 2) - 1)
        texel = np.clip(turns, 0, 1) * size[axis]
        sure &= np.abs(texel - np.rint(texel)) > 1e-3
        index.append(np.clip(np.floor(texel).astype(int), 0, size[axis] - 1))
    colours = srgb_decode(pixels[index[1], index[0], :3] / 255.0)
    return np.where(sure[..., None], colours, np.nan)


def soup_of(mesh: Mesh) -> Soup:
    """The triangles of a mesh."""
    albedo = np.stack([m.diffuse for m in mesh.materials]).astype(float)[mesh.face_material]
    albedo = np.repeat(albedo[:, None], len(POINTS), axis=1)
    for number, material in enumerate(mesh.materials):
        if material.texture is not None:
            faces = mesh.face_material == number
            uv = np.einsum("pc,mcx->mpx", POINTS, mesh.corner_uv[faces].astype(float))
            albedo[faces] = nearest(material.texture, uv * [1, -1] + [0, 1])
    if mesh.corner_colours is not None:
        albedo *= np.einsum("pc,mcx->mpx", POINTS, mesh.corner_colours)
    corners = mesh.vertices[mesh.faces].astype(float)
    normals = np.full_like(corners, np.nan) if mesh.corner_normals is None else mesh.corner_normals.astype(float)
    return Soup(corners, normals, albedo)
