"""Wigner-D matrices of rotation matrices: the action of a rotation on real spherical harmonics of degree l.

Basis: real orthonormal harmonics in the order m = -l..l, without the Condon-Shortley phase, z being the polar axis.
Degree 1 is the vector (y, z, x). With ``Y(x)`` these harmonics of a direction x, ``Y(R x) = D(R) Y(x)``. This is e3nn's
basis too, once the axes are renamed: its polar axis is y, and its x, y, z are our y, z, x (``E3NN_AXES``).

Each degree is the part of highest degree in the product of degree 1 and the degree before:
``D^l = Q (D^1 ⊗ D^(l-1)) Qᵀ`` with constant orthonormal rows Q, e3nn's 3j symbols. D is thus a polynomial in the
entries of R: no angles, nothing singular, and gradients everywhere. e3nn's own matrices go through Euler angles,
which a rotation about z does not determine; docs/benchmarks.md compares both.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from equissl.geometry.rotations import _check

E3NN_AXES = [1, 2, 0]
"""Positions of e3nn's x, y, z in our (x, y, z): the one place where its axes become ours."""


def wigner_d(rotmat: Tensor, degree: int) -> Tensor:
    """Compute the Wigner-D matrix of one degree.

    Args:
        rotmat: (..., 3, 3) rotation matrices R.
        degree: l, 0 or more.

    Returns:
        (..., 2l+1, 2l+1) orthogonal matrices D with ``D(R1) D(R2) = D(R1 R2)``, in R's dtype. Computed in float64.

    Raises:
        ValueError: for a negative degree or another shape.
    """
    if degree < 0:
        raise ValueError(f"expected a degree of 0 or more, got {degree}")
    return wigner_ds(rotmat, degree)[degree]


def wigner_ds(rotmat: Tensor, max_degree: int) -> list[Tensor]:
    """Compute Wigner-D matrices of the degrees 0, 1, ... ``max_degree`` (see :func:`wigner_d`).

    Args:
        rotmat: (..., 3, 3) rotation matrices.
        max_degree: highest degree.
    """
    _check("rotmat", rotmat, 3, 3)
    exact = rotmat.double()
    vector = exact[..., E3NN_AXES, :][..., E3NN_AXES]
    found = [torch.ones_like(exact[..., :1, :1]), vector]
    for degree in range(2, max_degree + 1):
        found.append(_raise(vector, found[-1], coupling(degree, exact.device)))
    return [d.to(rotmat.dtype) for d in found[: max_degree + 1]]


def _raise(vector: Tensor, below: Tensor, q: Tensor) -> Tensor:
    """Compute ``Q (vector ⊗ below) Qᵀ``."""
    product = vector[..., :, None, :, None] * below[..., None, :, None, :]
    product = product.flatten(-2).flatten(-3, -2)
    return q @ product @ q.T


@functools.cache
@torch.inference_mode(False)
def coupling(degree: int, device: torch.device) -> Tensor:
    """Compute Q, (2l+1, 3(2l-1)) float64: rows that pick degree l out of degree 1 times degree l-1, in the real basis.

    Args:
        degree: l, 1 or more.
        device: of the result, which is kept.
    """
    from e3nn.o3 import wigner_3j  # a second of start-up time

    symbols = wigner_3j(1, degree - 1, degree, dtype=torch.float64, device=device)
    return symbols.flatten(0, 1).T.contiguous() * math.sqrt(2 * degree + 1)
