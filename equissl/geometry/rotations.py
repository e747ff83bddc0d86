"""Rotations as matrices, quaternions and Euler angles.

Conventions, the same everywhere: active rotations of column vectors (``R @ x``), quaternions in the order (x, y, z, w),
angles in radians. Every function takes any leading (batch) dimensions, keeps the floating dtype and device, and has
finite gradients, also at the identity and at half turns.

Products are written as multiply-and-sum instead of ``matmul``: 3x3 products under autocast or TF32 would keep three
digits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

QuaternionSign = Literal["canonical", "legacy", "legacy_negated"]


def _check(name: str, value: Tensor, *trailing: int) -> None:
    if tuple(value.shape[-len(trailing) :]) != trailing:
        expected = ", ".join(("...", *map(str, trailing)))
        raise ValueError(f"expected {name} of shape ({expected}), got {tuple(value.shape)}")
    if not value.is_floating_point():
        raise ValueError(f"expected {name} of a floating dtype, got {value.dtype}")


def euler_to_rotmat(euler: Tensor) -> Tensor:
    """Extrinsic x-y-z Euler angles to matrices: ``Rz(c2) @ Ry(c1) @ Rx(c0)``.

    Args:
        euler: (..., 3) angles about the fixed x, y and z axis, radians.

    Returns:
        (..., 3, 3) rotation matrices.
    """
    _check("euler", euler, 3)
    cx, cy, cz = euler.cos().unbind(-1)
    sx, sy, sz = euler.sin().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotmat_to_euler(rotmat: Tensor) -> Tensor:
    """Convert matrices to extrinsic x-y-z Euler angles, the second in [-pi/2, pi/2].

    In gimbal lock (second angle at ±pi/2) the first and third angle are not determined; the pair returned still
    reproduces the matrix. Exactly there, gradients of the undetermined angles are finite but carry no meaning.

    Args:
        rotmat: (..., 3, 3) rotation matrices.

    Returns:
        (..., 3) angles about the fixed x, y and z axis, radians.
    """
    _check("rotmat", rotmat, 3, 3)
    first = torch.atan2(rotmat[..., 2, 1], rotmat[..., 2, 2])
    second = torch.atan2(-rotmat[..., 2, 0], torch.linalg.vector_norm(rotmat[..., 2, 1:], dim=-1))
    # The third angle is read after the first is undone, so it fits whatever rounding made of the first near gimbal
    # lock.
    sin, cos = first.sin(), first.cos()
    third = torch.atan2(
        sin * rotmat[..., 0, 2] - cos * rotmat[..., 0, 1], cos * rotmat[..., 1, 1] - sin * rotmat[..., 1, 2]
    )
    return torch.stack((first, second, third), dim=-1)


def euler_to_unitquat(euler: Tensor) -> Tensor:
    """Extrinsic x-y-z Euler angles to quaternions ``qz * qy * qx``, each factor (sin(c/2) axis, cos(c/2)).

    The sign is the product's own, not canonical: for angles within ±pi/2 the real part is never negative, beyond it may
    be.

    Args:
        euler: (..., 3) angles about the fixed x, y and z axis, radians.

    Returns:
        (..., 4) unit quaternions xyzw.
    """
    _check("euler", euler, 3)
    cx, cy, cz = (euler / 2).cos().unbind(-1)
    sx, sy, sz = (euler / 2).sin().unbind(-1)
    components = (
        cz * cy * sx - sz * sy * cx,
        cz * sy * cx + sz * cy * sx,
        sz * cy * cx - cz * sy * sx,
        cz * cy * cx + sz * sy * sx,
    )
    return torch.stack(components, dim=-1)


def rotmat_to_unitquat(rotmat: Tensor) -> Tensor:
    """Convert matrices to canonical quaternions (see `canonicalize_unitquat`).

    The matrix determines the outer product ``4 q qᵀ`` linearly; its row with the largest diagonal entry (never below 1)
    is a well conditioned multiple of q for every rotation, half turns included.

    Args:
        rotmat: (..., 3, 3) rotation matrices.

    Returns:
        (..., 4) unit quaternions xyzw.
    """
    _check("rotmat", rotmat, 3, 3)
    m = [[rotmat[..., i, j] for j in range(3)] for i in range(3)]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    xw, yw, zw = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xx = 1 + m[0][0] - m[1][1] - m[2][2]
    yy = 1 - m[0][0] + m[1][1] - m[2][2]
    zz = 1 - m[0][0] - m[1][1] + m[2][2]
    ww = 1 + m[0][0] + m[1][1] + m[2][2]
    rows = ((xx, xy, xz, xw), (xy, yy, yz, yw), (xz, yz, zz, zw), (xw, yw, zw, ww))
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return canonicalize_unitquat(row / torch.linalg.vector_norm(row, dim=-1, keepdim=True))


def unitquat_to_rotmat(quat: Tensor) -> Tensor:
    """Convert unit quaternions to matrices. ``q`` and ``-q`` give the same matrix.

    Args:
        quat: (..., 4) unit quaternions xyzw (use `normalize_unitquat` first where they may not be).

    Returns:
        (..., 3, 3) rotation matrices.
    """
    _check("quat", quat, 4)
    x, y, z, w = quat.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def unitquat_product(p: Tensor, q: Tensor) -> Tensor:
    """Compute the Hamilton product: the rotation ``q`` first, then ``p``, like ``R_p @ R_q``.

    Args:
        p: (..., 4) quaternions xyzw.
        q: (..., 4) quaternions xyzw; batch dimensions broadcast.

    Returns:
        (..., 4) quaternions xyzw.
    """
    _check("p", p, 4)
    _check("q", q, 4)
    px, py, pz, pw = p.unbind(-1)
    qx, qy, qz, qw = q.unbind(-1)
    components = (
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
        pw * qw - px * qx - py * qy - pz * qz,
    )
    return torch.stack(components, dim=-1)


def unitquat_conjugate(quat: Tensor) -> Tensor:
    """Compute the inverse rotation of a unit quaternion (..., 4): (-x, -y, -z, w)."""
    _check("quat", quat, 4)
    return torch.cat((-quat[..., :3], quat[..., 3:]), dim=-1)


def normalize_unitquat(quat: Tensor) -> Tensor:
    """Scale quaternions, such as network outputs, to unit norm.

    Args:
        quat: (..., 4) quaternions xyzw of any scale.

    Returns:
        (..., 4) unit quaternions; a quaternion of exact zeros has no direction and stays zero.
    """
    _check("quat", quat, 4)
    # Dividing by the largest entry first keeps squares of very small and very large entries representable. The
    # direction does not depend on this factor, so it is a constant for the gradient.
    scale = quat.detach().abs().amax(dim=-1, keepdim=True)
    quat = quat / torch.where(scale == 0, torch.ones_like(scale), scale)
    return quat / torch.linalg.vector_norm(quat, dim=-1, keepdim=True).clamp_min(0.5)


def canonicalize_unitquat(quat: Tensor) -> Tensor:
    """Return the one of ``q`` and ``-q`` whose real part is positive.

    For half turns (w exactly 0) the first non-zero of z, y, x is positive. No choice is continuous on all rotations:
    near half turns, two close rotations can have opposite canonical quaternions.

    Args:
        quat: (..., 4) quaternions xyzw.

    Returns:
        (..., 4) quaternions xyzw.
    """
    _check("quat", quat, 4)
    signs = quat.detach().sign()
    sign = signs[..., 3]
    for component in (2, 1, 0):
        sign = torch.where(sign == 0, signs[..., component], sign)
    return quat * torch.where(sign == 0, torch.ones_like(sign), sign)[..., None]


def relative_rotation(rotmat1: Tensor, rotmat2: Tensor) -> Tensor:
    """Compute ``R12 = R1ᵀ R2``, the rotation from view 1 to view 2 in the object's own frame: ``R2 = R1 R12``.

    Args:
        rotmat1: (..., 3, 3) rotation of the first view.
        rotmat2: (..., 3, 3) rotation of the second view; batch dimensions broadcast.

    Returns:
        (..., 3, 3) relative rotations.
    """
    _check("rotmat1", rotmat1, 3, 3)
    _check("rotmat2", rotmat2, 3, 3)
    return (rotmat1.unsqueeze(-1) * rotmat2.unsqueeze(-2)).sum(dim=-3)


def relative_unitquat(quat1: Tensor, quat2: Tensor, sign: QuaternionSign = "canonical") -> Tensor:
    """Compute the quaternion of the relative rotation, ``conj(q1) * q2``, under an explicit sign policy.

    A predictor trained under one policy is wrong under another, so the policy belongs in every checkpoint.

    Args:
        quat1: (..., 4) unit quaternions xyzw of the first view.
        quat2: (..., 4) unit quaternions xyzw of the second view.
        sign: "canonical" makes the real part non-negative. "legacy" keeps the sign of the product; with both arguments
            from `euler_to_unitquat` these are the targets of the 3DIEBench literature as SciPy >= 1.11 computes them.
            "legacy_negated" is its negative, what SciPy <= 1.10 gave.

    Returns:
        (..., 4) unit quaternions xyzw.

    Raises:
        ValueError: for an unknown sign policy or a wrong shape.
    """
    relative = unitquat_product(unitquat_conjugate(quat1), quat2)
    if sign == "canonical":
        return canonicalize_unitquat(relative)
    if sign == "legacy":
        return relative
    if sign == "legacy_negated":
        return -relative
    raise ValueError(f"expected sign 'canonical', 'legacy' or 'legacy_negated', got {sign!r}")


def geodesic_angle(rotmat1: Tensor, rotmat2: Tensor) -> Tensor:
    """Compute the angle of the relative rotation, in [0, pi].

    From both its sine and its cosine, so it is accurate near 0 and pi, where the arc cosine of the trace loses half the
    digits. The gradient at exactly 0 and pi, where the angle has a kink, is 0.

    Args:
        rotmat1: (..., 3, 3) rotation matrices.
        rotmat2: (..., 3, 3) rotation matrices; batch dimensions broadcast.

    Returns:
        (...) angles in radians.
    """
    r = relative_rotation(rotmat1, rotmat2)
    axis = torch.stack((r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]), dim=-1)
    return torch.atan2(torch.linalg.vector_norm(axis, dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1)


def unitquat_angle(quat1: Tensor, quat2: Tensor) -> Tensor:
    """Compute the angle between two rotations given as unit quaternions, in [0, pi], whatever their signs.

    Args:
        quat1: (..., 4) unit quaternions xyzw.
        quat2: (..., 4) unit quaternions xyzw; batch dimensions broadcast.

    Returns:
        (...) angles in radians; the gradient at exactly 0 and pi is 0.
    """
    relative = unitquat_product(unitquat_conjugate(quat1), quat2)
    return 2 * torch.atan2(torch.linalg.vector_norm(relative[..., :3], dim=-1), relative[..., 3].abs())


def random_rotmat(
    n: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw rotations uniformly (Haar measure), as directions of Gaussian quaternions.

    Args:
        n: number of rotations.
        generator: source of all random numbers; the global one when None. Its device decides unless ``device`` is
            given.
        dtype: floating dtype of the result.
        device: where to draw.

    Returns:
        (n, 3, 3) rotation matrices.
    """
    if device is None and generator is not None:
        device = generator.device
    quat = torch.randn(n, 4, generator=generator, dtype=dtype, device=device)
    return unitquat_to_rotmat(normalize_unitquat(quat))
