"""Views and camera rays in the memory of a torch device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from equissl.renderers import scene
from equissl.renderers.camera import pixel_grid
from equissl.renderers.lighting import perpendicular_basis
from equissl.renderers.scene import ViewArrays


@dataclass(frozen=True, eq=False)
class DeviceGrid:
    """Rays through K sub-samples of P = size² pixels; S = K·P, sub-samples outermost.

    Attributes:
        size, samples, pixels: image side, K and P.
        direction: (S, 3) unit ray directions, world frame.
        floor_t: (S,) distance along the ray to the floor.
        floor_x, floor_y: (S,) where.
        turn_cos, turn_sin, stretch: (S,) pseudo-random numbers of each sub-sample, see
            :class:`~equissl.renderers.camera.PixelGrid`.
    """

    size: int
    samples: int
    pixels: int
    direction: Tensor
    floor_t: Tensor
    floor_x: Tensor
    floor_y: Tensor
    turn_cos: Tensor
    turn_sin: Tensor
    stretch: Tensor


@lru_cache(maxsize=8)
def device_grid(size: int, antialias: int, device: torch.device) -> DeviceGrid:
    """Create the grid of an image size with antialias² samples a pixel: the ray caster's own rays.

    Args:
        size: size of the image, in pixels.
        antialias: samples along one side of a pixel.
        device: device of its tensors.
    """
    grid = pixel_grid(size, antialias)
    flat = (grid.floor_t, grid.floor_x, grid.floor_y, *grid.turn, grid.stretch)
    direction = np.stack([d.ravel() for d in grid.direction], 1)
    arrays = [torch.from_numpy(np.array(a)).to(device) for a in (direction, *(f.ravel() for f in flat))]
    return DeviceGrid(size, grid.samples, grid.pixels, *arrays)


@dataclass(frozen=True, eq=False)
class DeviceViews:
    """V views, float32; spot light and camera also in object coordinates.

    Attributes:
        mesh: (V,) int32, which mesh of the batch each view shows.
        rotation: (V, 3, 3).
        translation, camera_in_object, light, light_in_object: (V, 3) positions.
        axis, first, second: (V, 3) unit vectors: where the spot light points, and two across.
        axis_in_object, first_in_object, second_in_object: the same in object coordinates.
        floor_colour, light_colour: (V, 3) linear RGB.
    """

    mesh: Tensor
    rotation: Tensor
    translation: Tensor
    camera_in_object: Tensor
    light: Tensor
    light_in_object: Tensor
    axis: Tensor
    first: Tensor
    second: Tensor
    axis_in_object: Tensor
    first_in_object: Tensor
    second_in_object: Tensor
    floor_colour: Tensor
    light_colour: Tensor

    def __len__(self) -> int:
        return len(self.mesh)

    def __getitem__(self, index: slice) -> DeviceViews:
        return DeviceViews(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def upload_views(arrays: ViewArrays, mesh: np.ndarray, device: torch.device) -> DeviceViews:
    """Copy views to ``device`` in one piece.

    Args:
        arrays: V views.
        mesh: (V,) index of each view's mesh.
        device: device of the result.
    """
    camera = np.broadcast_to(np.array(scene.CAMERA_POSITION, np.float32), (len(arrays), 3))
    axis = arrays.light_position * np.float32(-1.0 / scene.SPOT_DISTANCE)
    spot = (axis, *perpendicular_basis(axis))
    columns = [
        arrays.rotation.reshape(-1, 9),
        arrays.translation,
        arrays.to_object_frame(camera),
        arrays.light_position,
        arrays.to_object_frame(arrays.light_position),
        *spot,
        *(arrays.direction_to_object_frame(a) for a in spot),
        arrays.floor_colour,
        arrays.light_colour,
    ]
    packed = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32)).to(device, non_blocking=True)
    rotation, *rest = (part.contiguous() for part in packed.split([9] + [3] * 12, dim=1))
    index = torch.from_numpy(np.asarray(mesh, np.int32)).to(device, non_blocking=True)
    return DeviceViews(index, rotation.view(-1, 3, 3), *rest)
