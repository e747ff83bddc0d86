"""Visible surfaces of many meshes, seen from the camera and from the spot light, by rasterisation (PyTorch3D).

This module needs PyTorch3D; :mod:`equissl.renderers.pytorch3d_renderer` imports it when it draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from equissl.renderers import scene
from equissl.renderers.base import RendererError
from equissl.renderers.camera import SUBPIXEL_OFFSETS
from equissl.renderers.device_mesh import NORMAL, MeshBatch
from equissl.renderers.device_views import DeviceGrid, DeviceViews
from equissl.renderers.torch_lighting import Vector3, dot
from equissl.renderers.torch_shading import SurfaceHits

SHADOW_SIZE = 256  # texels across the object's bounding sphere
_SHADOW_BIAS = 1.5  # in texels: a neighbouring face's plane may pass that far above the surface
_NEAR = 1e-3
_BIN_MEMORY = 512 << 20


class RasterTracer:
    """Depth and shadow maps of one batch of meshes."""

    def __init__(self, batch: MeshBatch) -> None:
        self._batch = batch
        self._corner = torch.cat([m.vertices[m.faces[:, 0].long()] for m in batch.meshes])
        self._shadow: tuple[DeviceViews, ShadowMaps] | None = None

    def first_hits(self, views: DeviceViews, grid: DeviceGrid) -> SurfaceHits:
        forward = grid.direction.new_tensor(scene.CAMERA_FORWARD)
        depth_to_distance = 1.0 / (grid.direction * forward).sum(1)
        right, up = (grid.direction.new_tensor(axis) for axis in (scene.CAMERA_RIGHT, scene.CAMERA_UP))
        camera = grid.direction.new_tensor(scene.CAMERA_POSITION)
        offsets = SUBPIXEL_OFFSETS[math.isqrt(grid.samples)]
        points = _in_world(self._batch, views)
        frames = [_project(p - camera, (right, up, forward), math.tan(scene.CAMERA_FIELD_OF_VIEW / 2)) for p in points]
        faces, mesh = [m.faces.long() for m in self._batch.meshes], views.mesh.tolist()
        maps = []
        for dy in offsets:
            for dx in offsets:
                shift = grid.direction.new_tensor([dx, dy, 0.0]) * (2.0 / grid.size)
                maps.append(_rasterise([f + shift for f in frames], [faces[m] for m in mesh], grid.size))
        face, depth, weights = (torch.cat(parts, dim=1) for parts in zip(*maps, strict=True))
        distance = depth * depth_to_distance
        face = torch.where(distance < grid.floor_t, face, -1)
        return SurfaceHits(face.int(), distance, weights[..., 1], weights[..., 2])

    def blocked(self, views: DeviceViews, view: Tensor, start: Vector3, towards: Vector3) -> Tensor:
        if self._shadow is None or self._shadow[0] is not views:
            self._shadow = (views, ShadowMaps(self._batch, views))
        face, texel = self._shadow[1].look_up(view, [s + t for s, t in zip(start, towards, strict=True)], start)
        known = face.clamp(min=0) + self._batch.first_face[views.mesh[view].long()]
        normal, corner = self._batch.records[known][:, NORMAL].T, self._corner[known].T
        # How far along the way to the spot light the plane of the face is that the spot light sees there.
        cosine = dot(normal, towards)
        share = dot(normal, [corner[i] - start[i] for i in range(3)]) / torch.where(cosine == 0, 1.0, cosine)
        length = dot(towards, towards).sqrt()
        return (face >= 0) & (cosine != 0) & (share * length > _SHADOW_BIAS * texel) & (share < 1)


class ShadowMaps:
    """Face seen from the spot light in each direction, V maps in object coordinates."""

    def __init__(self, batch: MeshBatch, views: DeviceViews) -> None:
        spot = views.light_in_object
        distance = spot.norm(dim=1)
        radius = batch.radius[views.mesh.long()] * 1.01
        if bool((radius >= distance).any()):
            raise RendererError(
                "the 'pytorch3d' renderer draws shadows of objects that do not reach the spot light: expected a radius "
                f"below {float(distance.min()):.3g}, got {float(radius.max()):.3g}"
            )
        self._spot, self._forward = spot, -spot / distance[:, None]
        helper = torch.eye(3, device=spot.device)[self._forward.abs().argmin(dim=1)]
        self._right = torch.nn.functional.normalize(torch.linalg.cross(self._forward, helper), dim=1)
        self._up = torch.linalg.cross(self._right, self._forward)
        self._slope = radius / (distance.square() - radius.square()).sqrt()
        self._texel = 2.0 * radius / SHADOW_SIZE
        mesh = views.mesh.tolist()
        axes = zip(self._right, self._up, self._forward, self._slope, strict=True)
        frames = [
            _project(batch.meshes[m].vertices - spot[i], a[:3], a[3])
            for i, (m, a) in enumerate(zip(mesh, axes, strict=True))
        ]
        self._face, _, _ = _rasterise(frames, [batch.meshes[m].faces.long() for m in mesh], SHADOW_SIZE)

    def look_up(self, view: Tensor, spot: Vector3, point: Vector3) -> tuple[Tensor, Tensor]:
        """Look up the face that the spot light sees towards each point, or -1, and the size of a texel there; (n,).

        Args:
            view: (n,) index of the view.
            spot: (n,) coordinates of the light.
            point: (n,) coordinates.
        """
        relative = [p - q for p, q in zip(point, spot, strict=True)]
        right, up, forward = (dot(axis[view].T, relative) for axis in (self._right, self._up, self._forward))
        scale = SHADOW_SIZE / (2.0 * self._slope[view] * forward)
        row, column = (SHADOW_SIZE / 2 - up * scale).floor().long(), (SHADOW_SIZE / 2 + right * scale).floor().long()
        inside = (row >= 0) & (row < SHADOW_SIZE) & (column >= 0) & (column < SHADOW_SIZE) & (forward > 0)
        index = torch.where(inside, row * SHADOW_SIZE + column, 0)
        return torch.where(inside, self._face[view, index], -1), self._texel[view]


def _in_world(batch: MeshBatch, views: DeviceViews) -> list[Tensor]:
    """The vertices (N, 3) of each view's mesh in world coordinates."""
    placed = zip(views.mesh.tolist(), views.rotation, views.translation, strict=True)
    # No matrix product: training may have set those to lower precision.
    return [(batch.meshes[m].vertices[:, None] * rotation).sum(2) + shift for m, rotation, shift in placed]


def _project(points: Tensor, axes: Sequence[Tensor], slope: float | Tensor) -> Tensor:
    """PyTorch3D's image coordinates (N, 3): x to the left, y up, both -1…1 over the image, and depth."""
    right, up, forward = ((points * axis).sum(1) for axis in axes)
    # Where a point lies behind the eye the division means nothing; PyTorch3D cuts faces at _NEAR with this divisor.
    divisor = forward * slope
    divisor = torch.where(divisor.abs() < 1e-9, 1e-9, divisor)
    return torch.stack([-right / divisor, up / divisor, forward], dim=1)


def _rasterise(vertices: list[Tensor], faces: list[Tensor], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest faces of V meshes: face (V, P) or -1, depth (V, P), barycentric weights (V, P, 3)."""
    # A bin that may hold every face of a mesh cannot overflow, which would leave holes; cutting may double faces.
    most = 2 * max(len(f) for f in faces)
    step = max(1, _BIN_MEMORY // (4 * 256 * most)) if vertices[0].is_cuda else len(vertices)
    parts = []
    for start in range(0, len(vertices), step):
        meshes = Meshes(vertices[start : start + step], faces[start : start + step])
        index, depth, weights, _ = rasterize_meshes(
            meshes,
            image_size=size,
            faces_per_pixel=1,
            max_faces_per_bin=most,
            perspective_correct=True,
            z_clip_value=_NEAR,
        )
        first = meshes.mesh_to_faces_packed_first_idx()[:, None]
        index = index.flatten(1)
        parts.append((torch.where(index >= 0, index - first, -1), depth.flatten(1), weights.flatten(1, 3)))
    face, depth, weights = (torch.cat(part) for part in zip(*parts, strict=True))
    return face, depth, weights
