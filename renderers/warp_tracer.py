"""Ray queries of many views against many meshes in one launch, for the CPU and CUDA from one source (NVIDIA Warp).

This module needs ``warp-lang``; :mod:`equissl.renderers.warp_renderer` imports it when a renderer is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import warp as wp
from torch import Tensor

from equissl.renderers.device_mesh import DeviceMesh
from equissl.renderers.device_views import DeviceGrid, DeviceViews
from equissl.renderers.torch_lighting import Vector3
from equissl.renderers.torch_shading import SurfaceHits


@wp.kernel(enable_backward=False)
def _first_hits(
    mesh_ids: wp.array[wp.uint64],
    mesh_radius: wp.array[float],
    view_mesh: wp.array[wp.int32],
    rotation: wp.array[wp.mat33],
    camera: wp.array[wp.vec3],
    direction: wp.array[wp.vec3],
    floor_t: wp.array[float],
    face: wp.array2d[wp.int32],
    distance: wp.array2d[float],
    second: wp.array2d[float],
    third: wp.array2d[float],
):
    """First hit of each camera ray (view, sample) before the floor; ``face`` is -1 for none."""
    view, sample = wp.tid()
    face[view, sample] = -1
    mesh = view_mesh[view]
    origin = camera[view]
    towards = wp.mul(wp.transpose(rotation[view]), direction[sample])
    # The bounding sphere is wider by a thousandth, so that rounding loses no ray.
    if wp.length(wp.cross(origin, towards)) > 1.001 * mesh_radius[mesh] + 1.0e-5:
        return
    hit = wp.mesh_query_ray(mesh_ids[mesh], origin, towards, floor_t[sample])
    if hit.result:
        face[view, sample] = hit.face
        distance[view, sample] = hit.t
        # Warp's weights belong to the first and second corner.
        second[view, sample] = hit.v
        third[view, sample] = 1.0 - hit.u - hit.v


@wp.kernel(enable_backward=False)
def _blocked(
    mesh_ids: wp.array[wp.uint64],
    view_mesh: wp.array[wp.int32],
    view: wp.array[wp.int64],
    start: wp.array[wp.vec3],
    towards: wp.array[wp.vec3],
    answer: wp.array[wp.uint8],
):
    """True where the mesh of a segment's view blocks the segment from ``start`` to ``start + towards``."""
    ray = wp.tid()
    mesh = mesh_ids[view_mesh[wp.int32(view[ray])]]
    hit = wp.mesh_query_ray_anyhit(mesh, start[ray], towards[ray], 1.0)
    answer[ray] = wp.where(hit, wp.uint8(1), wp.uint8(0))


def trace_mesh(mesh: DeviceMesh) -> wp.Mesh:
    """Create the mesh with its bounding volume hierarchy, which on a GPU is built there."""
    return wp.Mesh(wp.from_torch(mesh.vertices, dtype=wp.vec3), wp.from_torch(mesh.faces.flatten()))


class WarpTracer:
    """Tracer of rays against several meshes.

    Args:
        meshes: B of them.
        radius: (B,) of their bounding spheres.
    """

    def __init__(self, meshes: Sequence[wp.Mesh], radius: Tensor) -> None:
        self._meshes = meshes  # alive as long as their numbers are used
        self._device = wp.device_from_torch(radius.device)
        self._ids = wp.array([mesh.id for mesh in meshes], dtype=wp.uint64, device=self._device)
        self._radius = wp.from_torch(radius)

    def first_hits(self, views: DeviceViews, grid: DeviceGrid) -> SurfaceHits:
        shape = (len(views), len(grid.floor_t))
        face = torch.empty(shape, dtype=torch.int32, device=grid.floor_t.device)
        numbers = [torch.empty(shape, device=grid.floor_t.device) for _ in range(3)]
        inputs = [
            self._ids,
            self._radius,
            wp.from_torch(views.mesh),
            wp.from_torch(views.rotation, dtype=wp.mat33),
            wp.from_torch(views.camera_in_object, dtype=wp.vec3),
            wp.from_torch(grid.direction, dtype=wp.vec3),
            wp.from_torch(grid.floor_t),
        ]
        outputs = [wp.from_torch(tensor) for tensor in (face, *numbers)]
        wp.launch(_first_hits, dim=shape, inputs=inputs, outputs=outputs, device=self._device)
        return SurfaceHits(face, *numbers)

    def blocked(self, views: DeviceViews, view: Tensor, start: Vector3, towards: Vector3) -> Tensor:
        answer = torch.empty(len(view), dtype=torch.uint8, device=view.device)
        vectors = [wp.from_torch(torch.stack(tuple(v), dim=1), dtype=wp.vec3) for v in (start, towards)]
        inputs = [self._ids, wp.from_torch(views.mesh), wp.from_torch(view), *vectors]
        wp.launch(_blocked, dim=len(view), inputs=inputs, outputs=[wp.from_torch(answer)], device=self._device)
        return answer.bool()
