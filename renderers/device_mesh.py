"""Meshes in the memory of a torch device, arranged for shading many of them at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from equissl.datasets.meshes.mesh import Mesh
from equissl.renderers.traced_mesh import check_mesh

# Columns of a face record: the face's normal, three corner normals, albedo, three texture coordinates, and three corner
# colours where the mesh has them.
NORMAL, CORNER_NORMALS, ALBEDO, UV, COLOURS = slice(0, 3), slice(3, 12), slice(12, 15), slice(15, 21), slice(21, 30)


@dataclass(frozen=True, eq=False)
class DeviceMesh:
    """One mesh.

    Attributes:
        vertices: (N, 3) float32.
        faces: (M, 3) int32; of coincident faces the first only.
        records: (M, 21 or 30) float32, see the columns above.
        face_material: (M,) int64.
        texture_size: (materials, 2) int64 height and width of each material's texture, 0 where it has none.
        texture_first: (materials,) int64 first texel.
        texels: (T,) int32, red in the lowest byte, images one after the other, rows from the top.
        radius: () float32, of the bounding sphere about the object's origin.
    """

    vertices: Tensor
    faces: Tensor
    records: Tensor
    face_material: Tensor
    texture_size: Tensor
    texture_first: Tensor
    texels: Tensor
    radius: Tensor

    @property
    def num_bytes(self) -> int:
        """Device memory, with an estimate of 64 bytes a face for a ray-tracing structure."""
        tensors = (getattr(self, f.name) for f in fields(self))
        return sum(t.numel() * t.element_size() for t in tensors) + 64 * len(self.faces)


def upload_mesh(mesh: Mesh, device: torch.device) -> DeviceMesh:
    """Copy a mesh to ``device``; normals are worked out there.

    Args:
        mesh: to copy.
        device: to copy it to.

    Raises:
        RendererError: for an empty or broken mesh.
    """
    check_mesh(mesh)

    def put(array: np.ndarray, dtype: type) -> Tensor:
        # A writable copy of its own: torch does not take read-only memory.
        return torch.from_numpy(np.array(array, dtype)).to(device, non_blocking=True)

    vertices, faces = put(mesh.vertices, np.float32), put(mesh.faces, np.int32)
    kept = first_of_coincident(vertices, faces)
    faces, face_material = faces[kept], put(mesh.face_material, np.int64)[kept]
    diffuse = put(np.stack([material.diffuse for material in mesh.materials]), np.float32)
    corner_normals = None if mesh.corner_normals is None else put(mesh.corner_normals, np.float32)[kept]
    uv = None if mesh.corner_uv is None else put(mesh.corner_uv, np.float32)[kept]
    records = _face_records(vertices, faces, corner_normals, diffuse[face_material], uv)
    if mesh.corner_colours is not None:
        records = torch.cat([records, put(mesh.corner_colours, np.float32)[kept].reshape(-1, 9)], dim=1)
    textures = [None if uv is None else material.texture for material in mesh.materials]
    size = np.array([(0, 0) if texture is None else texture.shape[:2] for texture in textures])
    first = np.cumsum([0, *size.prod(1)[:-1]])
    texels = [_pack(put(texture, np.uint8)) for texture in textures if texture is not None]
    packed = torch.cat(texels) if texels else faces.new_zeros(0)
    radius = vertices.double().square().sum(1).max().sqrt().float()
    return DeviceMesh(
        vertices, faces, records, face_material, put(size, np.int64), put(first, np.int64), packed, radius
    )


def first_of_coincident(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the indices, in order, of the faces without those that lie on an earlier one, in either winding.

    Exports hold many such faces, also of different materials; which of them a ray meets would be chance.

    Args:
        vertices: (N, 3).
        faces: (M, 3).
    """
    place = _row_numbers(vertices)[faces.long()].sort(dim=1).values
    number = _row_numbers(place)
    order = torch.arange(len(faces), device=faces.device)
    first = torch.full_like(order, len(faces)).scatter_reduce_(0, number, order, "amin")
    return (first[number] == order).nonzero().squeeze(1)


def _row_numbers(rows: Tensor) -> Tensor:
    """A number (n,) below n for each of n rows (n, k), the same for equal rows only."""
    number = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for column in rows.unbind(1):
        value = column.unique(return_inverse=True)[1]
        number = (number * len(rows) + value).unique(return_inverse=True)[1]
    return number


def _pack(texture: Tensor) -> Tensor:
    """Texels (H·W,) int32 of a uint8 image (H, W, 3), red in the lowest byte."""
    red, green, blue = texture[..., :3].int().reshape(-1, 3).unbind(1)
    return red | (green << 8) | (blue << 16)


def _face_records(
    vertices: Tensor, faces: Tensor, corner_normals: Tensor | None, albedo: Tensor, uv: Tensor | None
) -> Tensor:
    corners = vertices.double()[faces.long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = normal.norm(dim=1, keepdim=True)
    up = normal.new_tensor([0.0, 0.0, 1.0])  # a face without area is never seen
    normal = torch.where(length > 0, normal / length, up).float()
    smooth = normal[:, None].expand(-1, 3, -1)
    if corner_normals is not None:
        # A missing normal is stored as zero by some exporters; the face's own stands in.
        usable = corner_normals.isfinite().all(-1) & (corner_normals.abs().sum(-1) > 1e-6)
        smooth = torch.where(usable[..., None], corner_normals, smooth)
    uv = albedo.new_zeros(len(faces), 6) if uv is None else uv.reshape(-1, 6).nan_to_num()
    return torch.cat([normal, smooth.reshape(-1, 9), albedo, uv], dim=1)


@dataclass(frozen=True, eq=False)
class MeshBatch:
    """Several meshes whose faces, materials and texels lie one after the other.

    Attributes:
        meshes: B of them.
        first_face: (B,) int64.
        records, face_material, texture_size, texture_first, texels: as in :class:`DeviceMesh`, indices into the batch.
        radius: (B,) float32.
    """

    meshes: Sequence[DeviceMesh]
    first_face: Tensor
    records: Tensor
    face_material: Tensor
    texture_size: Tensor
    texture_first: Tensor
    texels: Tensor
    radius: Tensor


def batch_meshes(meshes: Sequence[DeviceMesh]) -> MeshBatch:
    """Join meshes of one device."""
    device = meshes[0].records.device

    faces, materials, texels = (
        _starts([len(getattr(m, name)) for m in meshes], device) for name in ("faces", "texture_first", "texels")
    )
    if len(meshes) == 1:
        (m,) = meshes
        tensors = (m.records, m.face_material, m.texture_size, m.texture_first, m.texels)
        return MeshBatch(meshes, faces, *tensors, m.radius[None])
    face_material, texture_size, texture_first, texel = (
        torch.cat([getattr(m, name) for m in meshes])
        for name in ("face_material", "texture_size", "texture_first", "texels")
    )
    width = max(m.records.shape[1] for m in meshes)  # a mesh without colours is white
    records = torch.cat([pad(m.records, (0, width - m.records.shape[1]), value=1.0) for m in meshes])
    face_material += _spread(materials, [len(m.faces) for m in meshes])
    texture_first += _spread(texels, [len(m.texture_first) for m in meshes])
    radius = torch.stack([m.radius for m in meshes])
    return MeshBatch(meshes, faces, records, face_material, texture_size, texture_first, texel, radius)


def _starts(counts: list[int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.cumsum([0, *counts[:-1]])).to(device, non_blocking=True)


def _spread(values: Tensor, counts: list[int]) -> Tensor:
    """Each value as often as its count says; knowing the total spares waiting for the device."""
    repeats = torch.tensor(counts).to(values.device, non_blocking=True)
    return values.repeat_interleave(repeats, output_size=sum(counts))


class MeshCache:
    """Cache of the meshes used last, in device memory.

    Args:
        device: device of the copies.
        num_bytes: memory to keep; the meshes of the call under way stay in any case.
    """

    def __init__(self, device: torch.device, num_bytes: int) -> None:
        self._device, self._limit, self._used = device, num_bytes, 0
        # The mesh itself is kept with its copy, so that its id stays its own.
        self._kept: OrderedDict[int, tuple[Mesh, DeviceMesh]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, meshes: Sequence[Mesh]) -> list[DeviceMesh]:
        """Return copies of ``meshes``, made where they are missing."""
        copies = [self._copy(mesh) for mesh in meshes]
        wanted = len({id(mesh) for mesh in meshes})
        while self._used > self._limit and len(self._kept) > wanted:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._used -= oldest.num_bytes
        return copies

    def _copy(self, mesh: Mesh) -> DeviceMesh:
        if id(mesh) not in self._kept:
            copy = upload_mesh(mesh, self._device)
            self._kept[id(mesh)] = (mesh, copy)
            self._used += copy.num_bytes
        self._kept.move_to_end(id(mesh))
        return self._kept[id(mesh)][1]
