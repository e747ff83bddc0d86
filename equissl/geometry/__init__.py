"""Rotations and rigid transforms: batched, differentiable tensor functions.

Active rotations of column vectors, quaternions xyzw, radians; `docs/conventions.md` has the whole page.
"""

from equissl.geometry.rigid import relative_rigid, rigid, rigid_inverse, transform_points
from equissl.geometry.rotation_grid import rotation_grid, rotations_near_identity
from equissl.geometry.rotations import (
    QuaternionSign,
    canonicalize_unitquat,
    euler_to_rotmat,
    euler_to_unitquat,
    geodesic_angle,
    normalize_unitquat,
    random_rotmat,
    relative_rotation,
    relative_unitquat,
    rotmat_to_euler,
    rotmat_to_unitquat,
    unitquat_angle,
    unitquat_conjugate,
    unitquat_product,
    unitquat_to_rotmat,
)
from equissl.geometry.wigner import wigner_d, wigner_ds

__all__ = [
    "QuaternionSign",
    "canonicalize_unitquat",
    "euler_to_rotmat",
    "euler_to_unitquat",
    "geodesic_angle",
    "normalize_unitquat",
    "random_rotmat",
    "relative_rigid",
    "relative_rotation",
    "relative_unitquat",
    "rigid",
    "rigid_inverse",
    "rotation_grid",
    "rotations_near_identity",
    "rotmat_to_euler",
    "rotmat_to_unitquat",
    "transform_points",
    "unitquat_angle",
    "unitquat_conjugate",
    "unitquat_product",
    "unitquat_to_rotmat",
    "wigner_d",
    "wigner_ds",
]
