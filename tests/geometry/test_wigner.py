"""Wigner-D matrices against spherical harmonics (SciPy), e3nn, and the laws of a representation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from equissl.geometry import euler_to_rotmat, random_rotmat, unitquat_to_rotmat, wigner_d, wigner_ds
from equissl.geometry.wigner import E3NN_AXES, coupling

DEGREES = range(7)
angle = st.floats(-2 * math.pi, 2 * math.pi)
angles = st.tuples(angle, angle, angle)
# where Euler angles are not unique, or quaternions flip: identity, half turns, pitch ±90°
SPECIAL = [
    (0, 0, 0), (math.pi, 0, 0), (0, math.pi, 0), (0, 0, math.pi), (0, math.pi / 2, 0), (0.3, -math.pi / 2, 1.1),
    (math.pi / 2, math.pi / 2, math.pi / 2), (1e-9, 0, 0), (0, math.pi - 1e-9, 0.2),
]  # fmt: skip


def rotation(euler: tuple[float, ...]) -> Tensor:
    return euler_to_rotmat(torch.tensor(euler, dtype=torch.float64))


def real_harmonics(degree: int, points: Tensor) -> Tensor:
    """(N, 2l+1) real orthonormal harmonics from SciPy's complex ones, which carry the Condon-Shortley phase."""
    sph_harm_y = pytest.importorskip("scipy.special").sph_harm_y
    x, y, z = points.numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    columns = []
    for m in range(-degree, degree + 1):
        value = sph_harm_y(degree, abs(m), theta, phi) * (-1) ** m * (1 if m == 0 else math.sqrt(2))
        columns.append(value.imag if m < 0 else value.real)
    return torch.from_numpy(np.stack(columns, axis=1))


@pytest.mark.parametrize("degree", DEGREES)
def test_moves_spherical_harmonics(degree: int) -> None:
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    for r in (random_rotmat(1, dtype=torch.float64)[0], *map(rotation, SPECIAL)):
        expected = real_harmonics(degree, points @ r.T)
        torch.testing.assert_close(real_harmonics(degree, points) @ wigner_d(r, degree).T, expected, rtol=0, atol=1e-12)


def test_low_degrees_in_closed_form() -> None:
    r = random_rotmat(5, dtype=torch.float64)
    torch.testing.assert_close(wigner_d(r, 0), torch.ones(5, 1, 1, dtype=torch.float64))
    v = torch.randn(5, 3, dtype=torch.float64)
    moved = torch.einsum("bij,bj->bi", r, v)
    torch.testing.assert_close(
        torch.einsum("bij,bj->bi", wigner_d(r, 1), v[:, [1, 2, 0]]), moved[:, [1, 2, 0]], rtol=0, atol=1e-14
    )
    # about z, order m turns by m times the angle
    a, d = 0.7, wigner_d(rotation((0, 0, 0.7)), 3)
    for m in range(1, 4):
        block = d[[3 + m, 3 - m]][:, [3 + m, 3 - m]]
        c, s = math.cos(m * a), math.sin(m * a)
        torch.testing.assert_close(block, torch.tensor([[c, -s], [s, c]], dtype=torch.float64))
    assert d[3, 3].item() == pytest.approx(1)


@pytest.mark.parametrize("degree", DEGREES)
def test_e3nn_agrees_after_renaming_the_axes(degree: int) -> None:
    """e3nn's polar axis is y and its degree 1 is (x, y, z): its x, y, z are our y, z, x."""
    border = torch.eye(3, dtype=torch.float64)[E3NN_AXES]
    r = torch.cat([random_rotmat(10, dtype=torch.float64), torch.stack([rotation(e) for e in SPECIAL])])
    theirs = o3.Irrep(degree, 1).D_from_matrix(border @ r @ border.T)
    torch.testing.assert_close(wigner_d(r, degree), theirs, rtol=0, atol=1e-5)  # its generators are of single precision


@pytest.mark.parametrize("degree", DEGREES)
@given(first=angles, second=angles)
@settings(max_examples=25, deadline=None)
def test_is_an_orthogonal_representation(degree: int, first: tuple, second: tuple) -> None:
    r1, r2 = rotation(first), rotation(second)
    d1, d2, eye = wigner_d(r1, degree), wigner_d(r2, degree), torch.eye(2 * degree + 1, dtype=torch.float64)
    torch.testing.assert_close(d1 @ d2, wigner_d(r1 @ r2, degree), rtol=0, atol=1e-12)
    torch.testing.assert_close(d1 @ d1.T, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(wigner_d(r1.T, degree), d1.T, rtol=0, atol=1e-12)
    assert torch.linalg.det(d1).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("euler", SPECIAL)
def test_laws_where_angles_are_singular(euler: tuple) -> None:
    r, other = rotation(euler), random_rotmat(1, dtype=torch.float64)[0]
    for degree, d in enumerate(wigner_ds(r, 6)):
        torch.testing.assert_close(d @ wigner_d(other, degree), wigner_d(r @ other, degree), rtol=0, atol=1e-12)
        torch.testing.assert_close(d @ d.T, torch.eye(2 * degree + 1, dtype=torch.float64), rtol=0, atol=1e-12)
        angle = math.acos(max(-1.0, min(1.0, (r.trace().item() - 1) / 2)))
        character = 1 + 2 * sum(math.cos(k * angle) for k in range(1, degree + 1))
        assert d.trace().item() == pytest.approx(character, abs=1e-6)  # the angle's own rounding


def test_identity_is_the_identity() -> None:
    for degree, d in enumerate(wigner_ds(torch.eye(3, dtype=torch.float64), 8)):
        torch.testing.assert_close(d, torch.eye(2 * degree + 1, dtype=torch.float64), rtol=0, atol=1e-14)


def test_matrices_of_different_degrees_are_orthogonal_over_the_group() -> None:
    """Peter-Weyl: E[D^l_mn D^k_pq] = δ / (2l+1), for random rotations within sampling error."""
    torch.manual_seed(0)
    flat = torch.cat([d.flatten(1) for d in wigner_ds(random_rotmat(200_000, dtype=torch.float64), 3)], dim=1)
    expected = torch.cat([torch.full(((2 * n + 1) ** 2,), 1 / (2 * n + 1)) for n in range(4)]).double()
    torch.testing.assert_close(flat.T @ flat / len(flat), torch.diag(expected), rtol=0, atol=0.01)


def test_gradient_is_finite_and_right_everywhere() -> None:
    for euler in SPECIAL[:6]:
        r = rotation(euler).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: tuple(wigner_ds(x, 3)), r)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_shape_and_precision(dtype: torch.dtype) -> None:
    r = random_rotmat(6, dtype=torch.float64).view(2, 3, 3, 3)
    for degree, d in enumerate(wigner_ds(r.to(dtype), 3)):
        assert d.dtype == dtype and d.shape == (2, 3, 2 * degree + 1, 2 * degree + 1)
        exact = wigner_d(r.to(dtype).double(), degree)
        torch.testing.assert_close(d.double(), exact, rtol=0, atol=torch.finfo(dtype).eps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(wigner_d(r, 3), wigner_d(r, 3).double(), rtol=0, atol=0)
    assert wigner_d(r[:0], 2).shape == (0, 3, 5, 5)


def test_constants_made_in_inference_mode_still_have_gradients() -> None:
    coupling.cache_clear()
    with torch.inference_mode():
        wigner_d(torch.eye(3), 4)
    r = unitquat_to_rotmat(torch.tensor([0.0, 0, 0.6, 0.8])).requires_grad_()
    wigner_d(r, 4).sum().backward()
    assert torch.isfinite(r.grad).all() and r.grad.abs().max() > 0


def test_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="degree of 0 or more, got -1"):
        wigner_d(torch.eye(3), -1)
    with pytest.raises(ValueError, match=r"shape \(..., 3, 3\), got \(4, 4\)"):
        wigner_d(torch.eye(4), 1)
