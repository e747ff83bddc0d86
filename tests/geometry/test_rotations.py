"""Rotations against closed forms, SciPy and the group laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from equissl import geometry as geo

X, Y, Z = torch.eye(3, dtype=torch.float64)
PAIR = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 1.2]], dtype=torch.float64)
RELATIVE = torch.tensor([-0.36478472, 0.07199052, 0.42411524, 0.82575767], dtype=torch.float64)


def close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def rotvec(vector: torch.Tensor) -> torch.Tensor:
    """Independent oracle: matrix exponential of the cross-product matrix, in float64."""
    zero = torch.zeros_like(vector[..., 0])
    x, y, z = vector.unbind(-1)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(skew)


def euler_grid() -> torch.Tensor:
    """Angles through both gimbal locks, half turns and beyond."""
    steps = torch.linspace(-math.pi, math.pi, 9, dtype=torch.float64)
    return torch.cartesian_prod(steps, steps, steps)


coordinate = st.one_of(st.floats(-1, 1, width=64), st.sampled_from([0.0, 1.0, -1.0]))
unitquats = (
    st.tuples(coordinate, coordinate, coordinate, coordinate)
    .filter(lambda q: sum(c * c for c in q) > 1e-6)
    .map(lambda q: geo.normalize_unitquat(torch.tensor(q, dtype=torch.float64)))
)


@pytest.mark.parametrize(
    ("euler", "start", "end"),
    [
        ((math.pi / 2, 0, 0), Y, Z),
        ((0, math.pi / 2, 0), Z, X),
        ((0, 0, math.pi / 2), X, Y),
        # extrinsic: x first, then about the fixed z; the intrinsic order would send y to -x
        ((math.pi / 2, 0, math.pi / 2), Y, Z),
        ((math.pi / 2, 0, math.pi / 2), X, Y),
        ((0, math.pi / 2, math.pi / 2), Z, Y),
    ],
)
def test_named_rotations(euler: tuple[float, ...], start: torch.Tensor, end: torch.Tensor) -> None:
    angles = torch.tensor(euler, dtype=torch.float64)
    close(geo.euler_to_rotmat(angles) @ start, end)
    close(geo.unitquat_to_rotmat(geo.euler_to_unitquat(angles)) @ start, end)


def test_quaternion_order_is_xyzw() -> None:
    half = math.sqrt(0.5)
    close(
        geo.euler_to_unitquat(torch.tensor([0, 0, math.pi / 2], dtype=torch.float64)),
        half * torch.tensor([0, 0, 1, 1.0]).double(),
    )
    close(geo.rotmat_to_unitquat(torch.eye(3, dtype=torch.float64)), torch.tensor([0, 0, 0, 1.0]).double())


def test_euler_matches_scipy_everywhere() -> None:
    euler = euler_grid()
    oracle = Rotation.from_euler("xyz", euler.numpy())
    expected = torch.from_numpy(oracle.as_matrix())
    close(geo.euler_to_rotmat(euler), expected)
    close(geo.unitquat_to_rotmat(geo.euler_to_unitquat(euler)), expected)
    close(geo.rotmat_to_unitquat(expected).abs(), torch.from_numpy(oracle.as_quat()).abs(), atol=1e-8)
    close(geo.unitquat_to_rotmat(geo.rotmat_to_unitquat(expected)), expected)


def test_rotmat_to_euler_matches_scipy_away_from_gimbal_lock() -> None:
    euler = geo.rotmat_to_euler(geo.random_rotmat(500, torch.Generator().manual_seed(0), torch.float64))
    oracle = Rotation.from_matrix(geo.euler_to_rotmat(euler).numpy()).as_euler("xyz")
    close(euler, torch.from_numpy(oracle), atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e-16, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("lock", [math.pi / 2, -math.pi / 2])
def test_rotmat_to_euler_reproduces_the_matrix_in_gimbal_lock(lock: float, offset: float) -> None:
    outer = torch.tensor([[0.7, -1.1], [3.0, 0.2], [0.0, 0.0], [-2.5, 2.9]], dtype=torch.float64)
    euler = torch.stack(
        (outer[:, 0], torch.full((4,), lock - math.copysign(offset, lock), dtype=torch.float64), outer[:, 1]), dim=1
    )
    rotmat = geo.euler_to_rotmat(euler)
    again = geo.rotmat_to_euler(rotmat)
    close(geo.euler_to_rotmat(again), rotmat, atol=1e-14)
    close(again[:, 1], euler[:, 1], atol=1e-14)


def test_exact_gimbal_lock_has_finite_gradients() -> None:
    rotmat = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], requires_grad=True)
    geo.rotmat_to_euler(rotmat).sum().backward()
    assert rotmat.grad.isfinite().all()


def test_golden_relative_pose() -> None:
    quats = geo.euler_to_unitquat(PAIR)
    close(quats[0], torch.tensor([0.03427080, 0.10602051, 0.14357218, 0.98334744]).double(), atol=5e-8)
    close(quats[1], torch.tensor([-0.29578167, 0.09143124, 0.57675030, 0.75598454]).double(), atol=5e-8)
    close(geo.relative_unitquat(*quats, sign="legacy"), RELATIVE, atol=1e-8)
    close(geo.relative_unitquat(*quats, sign="legacy_negated"), -RELATIVE, atol=1e-8)
    close(geo.relative_unitquat(*quats), RELATIVE, atol=1e-8)
    close(geo.relative_unitquat(-quats[0], quats[1]), RELATIVE, atol=1e-8)
    relative = geo.relative_rotation(*geo.euler_to_rotmat(PAIR))
    rows = [[0.62988726, -0.75295491, -0.19052807], [0.64791074, 0.37411674, 0.66351212]]
    close(relative, torch.tensor([*rows, [-0.42831497, -0.54138301, 0.72349895]], dtype=torch.float64), atol=1e-8)
    close(geo.rotmat_to_euler(relative), torch.tensor([-0.64240225, 0.44262721, 0.79950234]).double(), atol=5e-8)


def test_legacy_sign_matches_scipy() -> None:
    euler = (torch.rand(400, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5) * math.pi
    first, second = (Rotation.from_euler("xyz", euler[:, view].numpy()) for view in (0, 1))
    expected = torch.from_numpy((first.inv() * second).as_quat())
    quats = geo.euler_to_unitquat(euler)
    close(geo.relative_unitquat(quats[:, 0], quats[:, 1], sign="legacy"), expected)
    assert (expected[:, 3] < 0).any()  # otherwise the sign is not tested


def test_quaternion_statistics_of_the_euler_box_have_their_closed_form() -> None:
    """Uniform angles in ±pi/2: E[w] = c³ for a pose and c⁶ for a relative pose, c = sin(pi/4) / (pi/4)."""
    c = math.sin(math.pi / 4) / (math.pi / 4)
    euler = (torch.rand(200_000, 2, 3, generator=torch.Generator().manual_seed(2)) - 0.5) * math.pi
    quats = geo.euler_to_unitquat(euler)
    relative = geo.relative_unitquat(quats[:, 0], quats[:, 1], sign="legacy")
    assert quats[..., 3].min() >= 0
    assert quats[..., 3].mean().item() == pytest.approx(c**3, abs=2e-3)
    assert relative.mean(0).tolist() == pytest.approx([0, 0, 0, c**6], abs=4e-3)
    assert relative.var(dim=0).mean().item() == pytest.approx(0.25 - c**12 / 4, abs=1e-3)
    assert (relative[:, 3] < 0).float().mean().item() == pytest.approx(0.0449, abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(unitquats, unitquats, unitquats)
def test_group_laws(p: torch.Tensor, q: torch.Tensor, r: torch.Tensor) -> None:
    product, matrix = geo.unitquat_product, geo.unitquat_to_rotmat
    identity = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)
    close(product(product(p, q), r), product(p, product(q, r)))
    close(product(p, geo.unitquat_conjugate(p)), identity)
    close(product(p, identity), p)
    close(matrix(product(p, q)), matrix(p) @ matrix(q))
    close(matrix(p).T @ matrix(p), torch.eye(3, dtype=torch.float64))
    close(torch.linalg.det(matrix(p)), torch.tensor(1.0, dtype=torch.float64))
    close(matrix(geo.unitquat_conjugate(p)), matrix(p).T)
    close(matrix(p) @ geo.relative_rotation(matrix(p), matrix(q)), matrix(q))
    close(matrix(geo.relative_unitquat(p, q)), geo.relative_rotation(matrix(p), matrix(q)))
    # atol: the angle is a square root near 0, where both are exact only to rounding of the matrices
    close(geo.geodesic_angle(matrix(p), matrix(q)), geo.unitquat_angle(p, q), atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(unitquats)
def test_rotmat_to_unitquat_inverts_and_is_canonical(q: torch.Tensor) -> None:
    again = geo.rotmat_to_unitquat(geo.unitquat_to_rotmat(q))
    close(torch.minimum((again - q).norm(), (again + q).norm()), torch.tensor(0.0, dtype=torch.float64), atol=1e-14)
    assert again[3] >= 0
    canonical = geo.canonicalize_unitquat(q)
    close(canonical, geo.canonicalize_unitquat(-q), atol=0)
    assert torch.equal(canonical, q) or torch.equal(canonical, -q)


@pytest.mark.parametrize(
    ("quat", "expected"),
    [
        ((0.6, 0, 0, -0.8), (-0.6, 0, 0, 0.8)),
        ((0.6, 0.0, -0.8, 0), (-0.6, 0, 0.8, 0)),
        ((0.6, -0.8, 0, 0), (-0.6, 0.8, 0, 0)),
        ((-1.0, 0, 0, -0.0), (1, 0, 0, 0)),
        ((0.0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_canonical_sign_at_half_turns(quat: tuple[float, ...], expected: tuple[float, ...]) -> None:
    close(geo.canonicalize_unitquat(torch.tensor(quat)), torch.tensor(expected, dtype=torch.float32), atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_turns_about_any_axis(dtype: torch.dtype) -> None:
    axes = torch.randn(200, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    axes = torch.cat((axes, torch.eye(3).double(), torch.tensor([[1.0, 1e-9, 0], [1, 1, 0]]).double()))
    axes = axes / axes.norm(dim=1, keepdim=True)
    rotmat = (2 * axes[:, :, None] * axes[:, None, :] - torch.eye(3)).to(dtype)
    quat = geo.rotmat_to_unitquat(rotmat)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    close((quat[:, :3] * axes.to(dtype)).sum(1).abs(), torch.ones(len(axes), dtype=dtype), atol=tolerance)
    close(quat[:, 3], torch.zeros(len(axes), dtype=dtype), atol=tolerance)
    assert quat.dtype == dtype


@pytest.mark.parametrize("angle", [1e-8, 1e-6, 1e-3, 1.0, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi - 1e-8])
def test_angles_are_accurate_at_both_ends(angle: float) -> None:
    first = geo.random_rotmat(50, torch.Generator().manual_seed(4), torch.float64)
    axis = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(5)).double(), dim=1)
    second = first @ rotvec(angle * axis)
    measured = geo.geodesic_angle(first, second)
    expected = torch.full((50,), angle, dtype=torch.float64)
    torch.testing.assert_close(measured, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(math.pi - measured, math.pi - expected, rtol=1e-6, atol=0)
    quats = (geo.rotmat_to_unitquat(first), geo.rotmat_to_unitquat(second))
    torch.testing.assert_close(geo.unitquat_angle(*quats), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(geo.unitquat_angle(quats[0], -quats[1]), expected, rtol=1e-6, atol=0)


def test_angle_of_equal_rotations_is_zero_but_for_rounding() -> None:
    """A few units of 2^-24; the arc cosine of the trace, rounded once, gives 3e-4."""
    rotmat = geo.random_rotmat(100, torch.Generator().manual_seed(6))
    assert geo.geodesic_angle(rotmat, rotmat).max() < 1e-6


@pytest.mark.parametrize("angle", [1e-7, 0.1, math.pi / 2, 3.1, math.pi - 1e-7])
def test_angle_gradient_is_one_along_the_axis(angle: float) -> None:
    axis = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    theta = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    rotmat = rotvec(theta * axis)
    (grad,) = torch.autograd.grad(geo.geodesic_angle(torch.eye(3, dtype=torch.float64), rotmat), theta)
    assert grad.item() == pytest.approx(1, abs=1e-6)


SPECIAL = {
    "identity": torch.eye(3),
    "half turn x": torch.diag(torch.tensor([1.0, -1, -1])),
    "half turn y": torch.diag(torch.tensor([-1.0, 1, -1])),
    "half turn z": torch.diag(torch.tensor([-1.0, -1, 1])),
    "half turn xy": torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]]),
    "third turn": torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_gradients_at_special_rotations(name: str) -> None:
    start = SPECIAL[name].double()
    tangent = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def there_and_back(v: torch.Tensor) -> torch.Tensor:
        return geo.unitquat_to_rotmat(geo.rotmat_to_unitquat(start @ rotvec(v)))

    assert torch.autograd.gradcheck(there_and_back, tangent)
    (jacobian,) = torch.autograd.functional.jacobian(there_and_back, (tangent,))
    (expected,) = torch.autograd.functional.jacobian(lambda v: start @ rotvec(v), (tangent,))
    close(jacobian, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPECIAL)
def test_gradients_at_special_rotations_are_finite(name: str, dtype: torch.dtype) -> None:
    rotmat = SPECIAL[name].to(dtype).requires_grad_()
    quat = geo.rotmat_to_unitquat(rotmat)
    angle = geo.geodesic_angle(torch.eye(3, dtype=dtype), rotmat)
    total = quat.sum() + angle + geo.unitquat_angle(quat, torch.tensor([0, 0, 0, 1], dtype=dtype))
    (grad,) = torch.autograd.grad(total + geo.rotmat_to_euler(rotmat).sum(), rotmat)
    assert grad.isfinite().all() and angle.dtype == dtype


def test_gradcheck_of_smooth_maps() -> None:
    generator = torch.Generator().manual_seed(7)
    euler = torch.rand(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    quat = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    other = geo.random_rotmat(4, generator, torch.float64)
    for function in (geo.euler_to_rotmat, geo.euler_to_unitquat, lambda e: geo.rotmat_to_euler(geo.euler_to_rotmat(e))):
        assert torch.autograd.gradcheck(function, euler)
    assert torch.autograd.gradcheck(geo.normalize_unitquat, quat)
    assert torch.autograd.gradcheck(geo.unitquat_product, (quat, quat.detach().flip(0).requires_grad_()))
    assert torch.autograd.gradcheck(lambda e: geo.geodesic_angle(geo.euler_to_rotmat(e), other), euler)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_normalize_keeps_direction_at_any_scale(scale: float) -> None:
    quat = torch.tensor([0.5, -0.5, 0.5, 0.5]) * scale
    close(geo.normalize_unitquat(quat), torch.tensor([0.5, -0.5, 0.5, 0.5]), atol=1e-6)


def test_normalize_of_zero_is_zero_with_finite_gradient() -> None:
    quat = torch.zeros(2, 4, requires_grad=True)
    out = geo.normalize_unitquat(quat)
    out.sum().backward()
    assert torch.equal(out, torch.zeros(2, 4)) and quat.grad.isfinite().all()


def test_random_rotations_are_uniform_and_come_from_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    rotmat = geo.random_rotmat(20_000, torch.Generator().manual_seed(8), torch.float64)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(rotmat, geo.random_rotmat(20_000, torch.Generator().manual_seed(8), torch.float64))
    close(rotmat.mean(0), torch.zeros(3, 3, dtype=torch.float64), atol=0.02)
    angle = geo.geodesic_angle(torch.eye(3, dtype=torch.float64), rotmat)
    assert angle.mean().item() == pytest.approx(math.pi / 2 + 2 / math.pi, abs=0.02)  # mean angle of the Haar measure


def test_leading_dimensions_and_broadcasting() -> None:
    rotmat = geo.random_rotmat(6, torch.Generator().manual_seed(9)).reshape(2, 3, 3, 3)
    quat = geo.rotmat_to_unitquat(rotmat)
    assert quat.shape == (2, 3, 4)
    assert geo.rotmat_to_euler(rotmat).shape == (2, 3, 3)
    assert geo.geodesic_angle(rotmat[:, :1], rotmat).shape == (2, 3)
    close(geo.relative_rotation(rotmat[:1, 0], rotmat)[1, 2], rotmat[0, 0].T @ rotmat[1, 2], atol=1e-6)
    assert geo.euler_to_rotmat(torch.zeros(0, 3)).shape == (0, 3, 3)
    assert geo.rotmat_to_unitquat(torch.zeros(0, 3, 3)).shape == (0, 4)


def test_products_stay_in_full_precision_under_autocast() -> None:
    rotmat = geo.random_rotmat(10, torch.Generator().manual_seed(10))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        relative = geo.relative_rotation(rotmat, rotmat.flip(0))
    assert torch.equal(relative, geo.relative_rotation(rotmat, rotmat.flip(0)))


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (geo.euler_to_rotmat, torch.zeros(5, 4), r"euler of shape \(\.\.\., 3\), got \(5, 4\)"),
        (geo.rotmat_to_unitquat, torch.zeros(5, 3), r"rotmat of shape \(\.\.\., 3, 3\), got \(5, 3\)"),
        (geo.unitquat_to_rotmat, torch.tensor(1.0), r"quat of shape \(\.\.\., 4\), got \(\)"),
        (geo.normalize_unitquat, torch.zeros(4, dtype=torch.int64), "floating dtype, got torch.int64"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(function, value: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(value)


def test_unknown_sign_policy_is_an_error() -> None:
    quat = torch.tensor([0.0, 0, 0, 1])
    with pytest.raises(ValueError, match="'canonical', 'legacy' or 'legacy_negated', got 'scipy'"):
        geo.relative_unitquat(quat, quat, sign="scipy")
