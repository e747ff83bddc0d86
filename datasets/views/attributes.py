"""Attributes of views as points: the further apart, the more two views differ in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from equissl.datasets.views.schema import ROTATION, LatentSchema
from equissl.geometry import euler_to_rotmat
from equissl.util.registry import did_you_mean

LIGHT = ("light_theta", "light_phi")


def light_directions(angles: Tensor) -> Tensor:
    """Compute unit vectors (..., 3) towards the spot light.

    Args:
        angles: (..., 2) polar angle from +z, and azimuth.
    """
    theta, phi = angles.unbind(-1)
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)


def _pose(euler: Tensor) -> Tensor:
    return euler_to_rotmat(euler).flatten(-2) / math.sqrt(8)  # two rotations are at most √8 apart, half a turn


def _hue(turns: Tensor) -> Tensor:
    angle = 2 * math.pi * turns.squeeze(-1)
    return torch.stack([angle.cos(), angle.sin()], -1) / 2


def _light(angles: Tensor) -> Tensor:
    return light_directions(angles) / 2


#: Latents of each attribute, and the function from them (..., n) to points (..., F) at most 1 apart.
ATTRIBUTES: dict[str, tuple[tuple[str, ...], Callable[[Tensor], Tensor]]] = {
    "pose": (ROTATION, _pose),
    "floor_hue": (("floor_hue",), _hue),
    "light_hue": (("light_hue",), _hue),
    "light": (LIGHT, _light),
}


def attribute_points(latents: Tensor, schema: LatentSchema, about: str) -> Tensor:
    """Compute points (..., F) whose Euclidean distance grows with the difference of two views in an attribute.

    Of one attribute the distance is the chord of the angle between two rotations, hues or directions; of several
    together, the root of the summed squares.

    Args:
        latents: (..., L), columns named by ``schema``.
        schema: names of the columns.
        about: one of :data:`ATTRIBUTES`, or several joined by ``+``.

    Raises:
        ValueError: for an unknown attribute, or one whose latents the views do not have.
    """
    points = []
    for name in about.split("+"):
        if name not in ATTRIBUTES:
            expected = f"expected one of {', '.join(ATTRIBUTES)}, or several joined by +"
            raise ValueError(f"unknown attribute {name!r}{did_you_mean(name, ATTRIBUTES)}; {expected}")
        needed, place = ATTRIBUTES[name]
        if missing := [latent for latent in needed if latent not in schema.names]:
            raise ValueError(f"attribute {name!r} needs the latents {missing}, but the views hold {list(schema.names)}")
        points.append(place(latents[..., schema.columns(*needed)].double()))
    return torch.cat(points, dim=-1)
