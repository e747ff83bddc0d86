"""Wigner-D matrices of rotation matrices: how real spherical harmonics of degree l move.

Basis: real orthonormal harmonics in the order m = -l..l, without the Condon-Shortley phase, z being the polar axis.
Degree 1 is the vector (y, z, x). With ``Y(x)`` these harmonics of a direction x, ``Y(R x) = D(R) Y(x)``.

Each degree is the part of highest degree in the product of degree 1 and the degree before:
``D^l = Q (D^1 ⊗ D^(l-1)) Qᵀ`` with constant orthonormal rows Q (Clebsch-Gordan coefficients). D is thus a polynomial in
the entries of R: no angles, nothing singular, and gradients everywhere.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from equissl.geometry.rotations import _check

# Position of y, z, x in (x, y, z).
_VECTOR = [1, 2, 0]


def wigner_d(rotmat: Tensor, degree: int) -> Tensor:
    """Wigner-D matrix of one degree.

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
    """Wigner-D matrices of the degrees 0, 1, ... ``max_degree`` (see :func:`wigner_d`)."""
    _check("rotmat", rotmat, 3, 3)
    exact = rotmat.double()
    vector = exact[..., _VECTOR, :][..., _VECTOR]
    found = [torch.ones_like(exact[..., :1, :1]), vector]
    for degree in range(2, max_degree + 1):
        found.append(_raise(vector, found[-1], coupling(degree, exact.device)))
    return [d.to(rotmat.dtype) for d in found[: max_degree + 1]]


def _raise(vector: Tensor, below: Tensor, q: Tensor) -> Tensor:
    """``Q (vector ⊗ below) Qᵀ``."""
    product = vector[..., :, None, :, None] * below[..., None, :, None, :]
    product = product.flatten(-2).flatten(-3, -2)
    return q @ product @ q.T


@functools.cache
@torch.inference_mode(False)
def coupling(degree: int, device: torch.device) -> Tensor:
    """Q, (2l+1, 3(2l-1)) float64: rows that pick degree l out of degree 1 times degree l-1, in the real basis."""
    vector, below, above = (_real_basis(n) for n in (1, degree - 1, degree))
    complex_q = _clebsch_gordan(degree).reshape(2 * degree + 1, -1)
    return torch.from_numpy((above @ complex_q @ np.kron(vector, below).conj().T).real.copy()).to(device)


def _clebsch_gordan(degree: int) -> np.ndarray:
    """⟨1 μ; l-1 m-μ | l m⟩ at [m + l, μ + 1, m - μ + l - 1] (Varshalovich et al. 1988, table 8.2)."""
    out, j = np.zeros((2 * degree + 1, 3, 2 * degree - 1)), degree - 1
    for m in range(-degree, degree + 1):
        norm = (2 * j + 1) * (2 * j + 2)
        squares = {1: (j + m) * (j + m + 1), 0: 2 * (j - m + 1) * (j + m + 1), -1: (j - m) * (j - m + 1)}
        for mu, square in squares.items():
            if abs(m - mu) <= j:
                out[m + degree, mu + 1, m - mu + j] = math.sqrt(square / norm)
    return out


def _real_basis(degree: int) -> np.ndarray:
    """U with ``Y_real = U Y_complex``, both in the order m = -l..l; the complex ones with the Condon-Shortley phase."""
    u = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    u[degree, degree] = 1
    for m in range(1, degree + 1):
        sign = (-1) ** m
        u[degree + m, [degree + m, degree - m]] = np.array([sign, 1]) / math.sqrt(2)
        u[degree - m, [degree + m, degree - m]] = np.array([-1j * sign, 1j]) / math.sqrt(2)
    return u
