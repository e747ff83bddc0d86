"""The 3DIEBench scene: floor, sun, spot light and camera, and the parameters that vary from view to view.

Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023.
Constants that the paper's generator leaves to Blender's defaults are written out here. World z is up, one unit is the
object's diagonal.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from equissl.renderers.base import RendererError

FLOOR_Z = -1.0
FLOOR_SATURATION, FLOOR_VALUE = 0.6, 0.6

WORLD_RADIANCE = 0.05
# Irradiance of an unoccluded upward surface. Blender spreads the sun over a cone of half-angle 45 degrees with constant
# radiance SUN_IRRADIANCE / (pi sin^2 45).
SUN_IRRADIANCE = 1.5
SUN_HALF_ANGLE = math.pi / 4

SPOT_DISTANCE = 4.0
SPOT_INTENSITY = 500.0 / (4.0 * math.pi)  # W/sr of a 500 W spot light
SPOT_HALF_ANGLE = math.pi / 16
SPOT_BLEND = 0.15
SPOT_RADIUS = 0.25
SPOT_SATURATION, SPOT_VALUE = 1.0, 0.8

CAMERA_POSITION = (0.0, 2.5 * math.sqrt(0.5), 2.5 * math.sqrt(0.5))
CAMERA_FIELD_OF_VIEW = 0.691111
# The camera looks at the origin from +y, so that its right is world -x.
CAMERA_RIGHT = (-1.0, 0.0, 0.0)
CAMERA_UP = (0.0, -math.sqrt(0.5), math.sqrt(0.5))
CAMERA_FORWARD = (0.0, -math.sqrt(0.5), -math.sqrt(0.5))


@dataclass(frozen=True, eq=False)
class ViewParameters:
    """Parameters of one view.

    Attributes:
        rotation: (3, 3) active rotation of the object.
        translation: (3,) position of the object's origin, applied after the rotation.
        floor_hue: In turns of the colour circle.
        light_theta: Angle of the spot light from +z, radians.
        light_phi: Azimuth of the spot light, radians.
        light_hue: In turns of the colour circle.
    """

    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    translation: np.ndarray = field(default_factory=lambda: np.zeros(3))
    floor_hue: float = 0.0
    light_theta: float = 0.0
    light_phi: float = 0.0
    light_hue: float = 0.0


@dataclass(frozen=True, eq=False)
class ViewArrays:
    """Parameters of V views as float32 arrays, colours and positions computed.

    Attributes:
        rotation: (V, 3, 3).
        translation: (V, 3).
        floor_colour: (V, 3) linear RGB albedo.
        light_position: (V, 3).
        light_colour: (V, 3) linear RGB.
    """

    rotation: np.ndarray
    translation: np.ndarray
    floor_colour: np.ndarray
    light_position: np.ndarray
    light_colour: np.ndarray

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, index: slice) -> ViewArrays:
        return ViewArrays(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def to_object_frame(self, points: np.ndarray) -> np.ndarray:
        """Return the world points (V, 3), one per view, in each view's object frame: Rᵀ(p - t)."""
        return _transposed_times(self.rotation, points - self.translation)

    def direction_to_object_frame(self, directions: np.ndarray) -> np.ndarray:
        """Return the world directions (V, 3), one per view, in each view's object frame: Rᵀd."""
        return _transposed_times(self.rotation, directions)


def _transposed_times(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    # Written out: a BLAS product may round differently with the number of views.
    return rotation[:, 0] * vectors[:, 0:1] + rotation[:, 1] * vectors[:, 1:2] + rotation[:, 2] * vectors[:, 2:3]


def view_arrays(views: Sequence[ViewParameters]) -> ViewArrays:
    """Check and stack the parameters of V views.

    Raises:
        RendererError: naming the first view with a value that is not finite or a matrix that is not a rotation.
    """
    if len(views) == 0:
        raise RendererError("expected at least one view, got none")
    rotation = np.stack([_array(view.rotation, (3, 3), i, "rotation") for i, view in enumerate(views)])
    translation = np.stack([_array(view.translation, (3,), i, "translation") for i, view in enumerate(views)])
    names = ("floor_hue", "light_theta", "light_phi", "light_hue")
    scalars = np.stack([[_array(getattr(v, name), (), i, name) for name in names] for i, v in enumerate(views)])
    _check_rotations(rotation)
    floor_hue, theta, phi, light_hue = scalars.T
    arrays = (
        rotation,
        translation,
        hsv_to_rgb(floor_hue, FLOOR_SATURATION, FLOOR_VALUE),
        SPOT_DISTANCE * np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1),
        hsv_to_rgb(light_hue, SPOT_SATURATION, SPOT_VALUE),
    )
    return ViewArrays(*(array.astype(np.float32) for array in arrays))


def _array(value: object, shape: tuple[int, ...], index: int, name: str) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise RendererError(f"view {index}: expected {name} of shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise RendererError(f"view {index}: expected a finite {name}, got {array.tolist()}")
    return array


def _check_rotations(rotation: np.ndarray) -> None:
    error = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max(axis=(1, 2))
    bad = np.flatnonzero((error > 1e-3) | (np.linalg.det(rotation) < 0))
    if bad.size:
        raise RendererError(
            f"view {bad[0]}: expected a rotation matrix (RᵀR = I, det R = 1), got {rotation[bad[0]].tolist()}"
        )


def hsv_to_rgb(hue: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """Convert hues to scene-linear RGB (N, 3); no sRGB decoding, as the reference generator does.

    Args:
        hue: (N,) in turns.
        saturation: of all.
        value: of all.
    """
    return np.array([colorsys.hsv_to_rgb(float(h) % 1.0, saturation, value) for h in hue]).reshape(-1, 3)


def view_parameters(latents: np.ndarray, names: Sequence[str]) -> list[ViewParameters]:
    """Convert latent rows to scene parameters.

    A translation is along the object's own axes, as in 3DIEBench-T: it comes before the rotation, and the object's
    origin is at R·t in the world.

    Args:
        latents: (V, L) array.
        names: the L column names; ``rotation_{x,y,z}`` (extrinsic xyz Euler angles), ``translation_{x,y,z}``,
            ``floor_hue``, ``light_theta``, ``light_phi`` and ``light_hue`` are read, missing ones are zero.

    Raises:
        RendererError: when the number of columns and names differ.
    """
    latents = np.asarray(latents, dtype=np.float64)
    if latents.ndim != 2 or latents.shape[1] != len(names):
        raise RendererError(f"expected latents of shape (V, {len(names)}) for {list(names)}, got {latents.shape}")

    def column(name: str) -> np.ndarray:
        return latents[:, list(names).index(name)] if name in names else np.zeros(len(latents))

    rotation = _euler_to_rotmat(*(column(f"rotation_{axis}") for axis in "xyz"))
    shift = np.stack([column(f"translation_{axis}") for axis in "xyz"], 1)
    translation = sum(rotation[:, :, axis] * shift[:, axis : axis + 1] for axis in range(3))
    scalars = [column(name) for name in ("floor_hue", "light_theta", "light_phi", "light_hue")]
    return [
        ViewParameters(r, t, *(float(s) for s in row))
        for r, t, *row in zip(rotation, translation, *scalars, strict=True)
    ]


def _euler_to_rotmat(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Rz(z)·Ry(y)·Rx(x), (V, 3, 3) float64 (rendering works without PyTorch)."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
