"""Ray queries against one mesh, with its face attributes arranged for array shading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.base import RendererError
from equissl.renderers.face_attributes import FaceAttributes
from equissl.renderers.lighting import Vector
from equissl.renderers.materials import mean_albedo

# Rays that leave a surface start this far from it, in units of the object's diagonal: exports often hold coincident
# faces.
SURFACE_OFFSET = 1e-4
MAX_LAYERS = 8  # transparent surfaces that a ray passes


def open3d_core() -> Any:
    """Import the open3d package.

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

    def take(self, index: np.ndarray) -> Hits:
        """Return some of the hits."""
        return Hits(*(a[index] for a in (self.ray, self.distance, self.face, self.u, self.v)))

    @classmethod
    def join(cls, parts: Sequence[Hits]) -> Hits:
        """Join several lists to one."""
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("ray", "distance", "face", "u", "v")))


class TracedMesh(FaceAttributes):
    """A mesh in an Embree scene (object frame), with one row of attributes per face.

    Attributes:
        radius: radius of the bounding sphere about the object's origin.
        bounds: (2, 3) float32 lowest and highest corner of the bounding box.
        face_mean_albedo: (M, 3) float32, a texture's mean colour where there is one.
        face_specular, face_roughness: (M,) float32.
        face_alpha: (M,) float32, or None where all faces are opaque or shall be drawn so.
    """

    def __init__(self, mesh: Mesh, transparency: bool = False) -> None:
        check_mesh(mesh)
        super().__init__(mesh)
        self._core = open3d_core().core
        self._scene = _embree_scene(mesh)
        self.radius = float(np.linalg.norm(mesh.vertices.astype(np.float64), axis=1).max())
        self.bounds = mesh.bounds.astype(np.float32)
        self.face_mean_albedo = np.stack([mean_albedo(m) for m in mesh.materials])[self.face_material]
        if mesh.corner_colours is not None:
            self.face_mean_albedo = self.face_mean_albedo * mesh.corner_colours.mean(axis=1)
        self.face_specular, self.face_roughness, alpha = (
            np.array([getattr(m, name) for m in mesh.materials], np.float32)[self.face_material]
            for name in ("specular", "roughness", "alpha")
        )
        self.face_alpha = alpha if transparency and (alpha < 1).any() else None

    def first_hits(self, rays: np.ndarray) -> Hits:
        """Find the first hits of rays (n, 6) float32: origin and direction in the object frame."""
        answer = self._scene.cast_rays(self._core.Tensor.from_numpy(rays), nthreads=1)
        distance = answer["t_hit"].numpy()
        ray = np.flatnonzero(np.isfinite(distance))
        uv = answer["primitive_uvs"].numpy()[ray]
        face = answer["primitive_ids"].numpy()[ray].astype(np.int32)
        return Hits(ray, distance[ray], face, uv[:, 0], uv[:, 1])

    def layers(self, rays: np.ndarray) -> Iterator[tuple[Hits, np.ndarray]]:
        """All that rays (n, 6) meet until they are stopped: hits from front to back with the share of light they send.

        The shares of a ray add up to 1 where it ends on an opaque face.
        """
        ray, travelled, share = np.arange(len(rays)), np.zeros(len(rays), np.float32), np.ones(len(rays), np.float32)
        start = rays
        for _ in range(MAX_LAYERS):
            hits = self.first_hits(start)
            found = Hits(ray[hits.ray], hits.distance + travelled[hits.ray], hits.face, hits.u, hits.v)
            if self.face_alpha is None:
                yield found, share[hits.ray]
                return
            alpha = self.face_alpha[hits.face]
            yield found, share[hits.ray] * alpha
            through = np.flatnonzero(alpha < 1)
            if through.size == 0:
                return
            share = share[hits.ray[through]] * (1 - alpha[through])
            ray, travelled = found.ray[through], found.distance[through] + np.float32(SURFACE_OFFSET)
            start = rays[ray].copy()
            start[:, :3] += start[:, 3:] * travelled[:, None]

    def transmittance(self, origin: Vector, towards: Vector) -> np.ndarray:
        """Compute the share of light that passes along each ray, (n,): bool for opaque meshes, else float32.

        Args:
            origin: (n,) coordinates.
            towards: (n,) coordinates, to the end of the ray.
        """
        rays = pack_rays(origin, towards)
        if self.face_alpha is None:
            return ~self._scene.test_occlusions(self._core.Tensor.from_numpy(rays), nthreads=1).numpy()
        length = np.sqrt((rays[:, 3:] ** 2).sum(1, keepdims=True))
        rays[:, 3:] /= length
        passed = np.ones(len(rays), np.float32)
        for hits, share in self.layers(rays):
            passed[hits.ray] -= share
        return np.maximum(passed, 0.0)


def pack_rays(origin: Vector, direction: Vector) -> np.ndarray:
    """Pack rays in Open3D's layout (n, 6) float32.

    Args:
        origin: (n,) coordinates.
        direction: (n,) coordinates.
    """
    rays = np.empty((direction[0].size, 6), np.float32)
    for i in range(3):
        rays[:, i] = origin[i].ravel() if isinstance(origin[i], np.ndarray) else origin[i]
        rays[:, 3 + i] = direction[i].ravel()
    return rays


def check_mesh(mesh: Mesh) -> None:
    """Refuse a mesh that no renderer can draw.

    Raises:
        RendererError: for one without triangles, with vertices that are not finite or with indices out of range.
    """

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
