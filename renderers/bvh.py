"""Ray queries against one mesh, with its face attributes arranged for array shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.lighting import Vector
from equissl.renderers.materials import collect_textures

# Rays that leave a surface start this far from it, in units of the object's diagonal: exports often hold coincident
# faces.
SURFACE_OFFSET = 1e-4


def open3d_core() -> Any:
    """The open3d package.

    Raises:
        RendererError: with the command that installs what is missing.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        raise RendererError(f"the 'raycast' renderer cannot load Open3D ({error}); {_advice(error)}") from error
    return open3d


def _advice(error: Exception) -> str:
    if "libusb" in str(error):
        return "install the system library: apt-get install -y libusb-1.0-0"
    if isinstance(error, ModuleNotFoundError):
        return "install it: pip install open3d-cpu (and the system library: apt-get install -y libusb-1.0-0)"
    libraries = "libusb-1.0-0 libgomp1 libx11-6 libgl1 libegl1"
    return f"install its system libraries: apt-get install -y {libraries}; or install it again: pip install open3d-cpu"


@dataclass(frozen=True, eq=False)
class Hits:
    """First hits of n rays with the mesh; the arrays hold only the rays that hit.

    Attributes:
        ray: index of each hit's ray.
        distance: along the ray.
        face: triangle index.
        u, v: barycentric weights of the second and third corner.
    """

    ray: np.ndarray
    distance: np.ndarray
    face: np.ndarray
    u: np.ndarray
    v: np.ndarray


class TracedMesh:
    """A mesh in an Embree scene (object frame), with one row of attributes per face.

    Attributes:
        radius: of the bounding sphere about the object's origin.
        face_records: (M, 15 or 21) float32: face normal, three corner normals, albedo, [corner texture coordinates].
        face_material: (M,) int32.
        textures: see :class:`~equissl.renderers.materials.Textures`, or None.
    """

    NORMAL, CORNER_NORMALS, ALBEDO, UV = slice(0, 3), slice(3, 12), slice(12, 15), slice(15, 21)

    def __init__(self, mesh: Mesh) -> None:
        _check_mesh(mesh)
        self._core = open3d_core().core
        self._scene = _embree_scene(mesh)
        self.radius = float(np.linalg.norm(mesh.vertices.astype(np.float64), axis=1).max())
        self.face_material = np.ascontiguousarray(mesh.face_material, np.int32)
        self.textures = collect_textures(mesh)
        self.face_records = _face_records(mesh, self.textures is not None)

    def first_hits(self, rays: np.ndarray) -> Hits:
        """First hits of rays (n, 6) float32: origin and direction in the object frame."""
        answer = self._scene.cast_rays(self._core.Tensor.from_numpy(rays), nthreads=1)
        distance = answer["t_hit"].numpy()
        ray = np.flatnonzero(np.isfinite(distance))
        uv = answer["primitive_uvs"].numpy()[ray]
        face = answer["primitive_ids"].numpy()[ray].astype(np.int32)
        return Hits(ray, distance[ray], face, uv[:, 0], uv[:, 1])

    def blocked(self, origin: Vector, towards: Vector) -> np.ndarray:
        """Whether the mesh blocks each ray, (n,) bool."""
        rays = pack_rays(origin, towards)
        return self._scene.test_occlusions(self._core.Tensor.from_numpy(rays), nthreads=1).numpy()


def pack_rays(origin: Vector, direction: Vector) -> np.ndarray:
    """Open3D's ray layout (n, 6) float32."""
    rays = np.empty((direction[0].size, 6), np.float32)
    for i in range(3):
        rays[:, i] = origin[i].ravel() if isinstance(origin[i], np.ndarray) else origin[i]
        rays[:, 3 + i] = direction[i].ravel()
    return rays


def _check_mesh(mesh: Mesh) -> None:
    def refuse(expected: str, got: object) -> None:
        raise RendererError(f"mesh {mesh.name!r}: expected {expected}, got {got}")

    if len(mesh.faces) == 0 or len(mesh.vertices) == 0:
        refuse("at least one triangle", f"{len(mesh.faces)} of {len(mesh.vertices)} vertices")
    if not np.isfinite(mesh.vertices).all():
        refuse("finite vertices", f"{int((~np.isfinite(mesh.vertices)).sum())} numbers that are not")
    for what, index, count in (
        ("vertex", mesh.faces, len(mesh.vertices)),
        ("material", mesh.face_material, len(mesh.materials)),
    ):
        if index.min() < 0 or index.max() >= count:
            refuse(f"{what} indices in 0..{count - 1}", f"{index.min()}..{index.max()}")


def _embree_scene(mesh: Mesh) -> Any:
    open3d = open3d_core()
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(vertices), open3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32))
    )
    return scene


def _face_records(mesh: Mesh, textured: bool) -> np.ndarray:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.divide(normal, length, out=np.tile([0.0, 0.0, 1.0], (len(normal), 1)), where=length > 0)
    corner_normals = np.repeat(normal[:, None], 3, axis=1)
    if mesh.corner_normals is not None:
        # A missing normal is stored as zero by some exporters; the face's own stands in.
        usable = np.isfinite(mesh.corner_normals).all(-1) & (np.abs(mesh.corner_normals).sum(-1) > 1e-6)
        corner_normals[usable] = mesh.corner_normals[usable]
    albedo = np.stack([np.asarray(m.diffuse, np.float64) for m in mesh.materials])[mesh.face_material]
    parts = [normal, corner_normals.reshape(-1, 9), albedo]
    if textured and mesh.corner_uv is not None:
        parts.append(np.nan_to_num(mesh.corner_uv.reshape(-1, 6)))
    return np.concatenate(parts, axis=1).astype(np.float32)
