"""The predictor without parameters: laws of the group, and exact prediction of synthetic embeddings of two views."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from equissl.geometry import (
    euler_to_rotmat,
    geodesic_angle,
    random_rotmat,
    relative_rigid,
    relative_rotation,
    rigid,
    rigid_inverse,
    transform_points,
    wigner_d,
)
from equissl.geometry.wigner import E3NN_AXES
from equissl.losses import normalize_poses
from equissl.predictors import GroupRepresentation, pose_action

IRREPS = ("3x0e+4x1e+2x2e+1x3e+2x5e", 0)
POSES = ("2x0e+3x1e+1x2e", 2)


def random_poses(count: int) -> Tensor:
    return rigid(random_rotmat(count, dtype=torch.float64), torch.randn(count, 3, dtype=torch.float64))


def random_actions(predictor: GroupRepresentation, count: int) -> Tensor:
    return random_rotmat(count, dtype=torch.float64) if predictor.action_size == 3 else random_poses(count)


@pytest.mark.parametrize("parts", [IRREPS, POSES])
def test_matrices_are_a_representation(parts: tuple[str, int]) -> None:
    torch.manual_seed(0)
    predictor = GroupRepresentation(*parts)
    g, h = random_actions(predictor, 6), random_actions(predictor, 6)
    rho_g, rho_h = predictor.matrix(g), predictor.matrix(h)
    assert rho_g.shape == (6, predictor.dim, predictor.dim)
    torch.testing.assert_close(rho_g @ rho_h, predictor.matrix(g @ h), rtol=0, atol=1e-12)
    eye = torch.eye(predictor.dim, dtype=torch.float64)
    identity = torch.eye(predictor.action_size, dtype=torch.float64)[None]
    torch.testing.assert_close(predictor.matrix(identity)[0], eye, rtol=0, atol=1e-14)
    inverse = g.transpose(1, 2) if predictor.action_size == 3 else rigid_inverse(g)
    torch.testing.assert_close(predictor.matrix(inverse) @ rho_g, eye.expand(6, -1, -1), rtol=0, atol=1e-12)
    if predictor.action_size == 3:
        torch.testing.assert_close(rho_g @ rho_g.mT, eye.expand(6, -1, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("parts", [IRREPS, POSES])
def test_prediction_is_exact_for_world_content_seen_from_the_object(parts: tuple[str, int]) -> None:
    """f(g) = ρ(g)ᵀ c, for views 1 and 2 with known absolute poses and g12 = g1⁻¹ g2."""
    torch.manual_seed(1)
    predictor = GroupRepresentation(*parts)
    g1, g2 = random_actions(predictor, 8), random_actions(predictor, 8)
    g12 = relative_rotation(g1, g2) if predictor.action_size == 3 else relative_rigid(g1, g2)
    content = torch.randn(8, predictor.dim, dtype=torch.float64)
    first, second = (torch.einsum("bij,bi->bj", predictor.matrix(g), content) for g in (g1, g2))
    torch.testing.assert_close(predictor(first, g12), second, rtol=0, atol=1e-12)
    torch.testing.assert_close(predictor(first, g12.flatten(1)), second, rtol=0, atol=1e-12)
    # neither the inverse action nor content that is fixed in the object would do
    inverse = g12.transpose(1, 2) if predictor.action_size == 3 else rigid_inverse(g12)
    assert (predictor(first, inverse) - second).abs().max() > 0.1
    first, second = (torch.einsum("bij,bj->bi", predictor.matrix(g), content) for g in (g1, g2))
    assert (predictor(first, g12) - second).abs().max() > 0.1


def test_degree_one_is_a_direction_in_the_world_seen_from_the_object() -> None:
    """Gravity in the object's frame after a quarter turn about the object's x axis."""
    predictor = GroupRepresentation("1x1e")
    gravity = torch.tensor([[0.0, -1.0, 0.0]])  # (y, z, x) = down
    quarter = euler_to_rotmat(torch.tensor([[math.pi / 2, 0, 0]]))  # the object's y axis now points up
    torch.testing.assert_close(predictor(gravity, quarter), torch.tensor([[-1.0, 0, 0]]), atol=1e-6, rtol=0)


def test_degree_two_is_a_symmetric_matrix_seen_from_the_object() -> None:
    """xy, yz, zz, zx and xx-yy of a symmetric traceless tensor S, which the object sees as Rᵀ S R."""
    torch.manual_seed(2)
    a = torch.randn(5, 3, 3, dtype=torch.float64)
    tensor = a + a.mT
    tensor = tensor - torch.eye(3) * tensor.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    r = random_rotmat(5, dtype=torch.float64)

    def components(s: Tensor) -> Tensor:
        two = [s[:, 0, 1], s[:, 1, 2], s[:, 2, 2] * math.sqrt(3) / 2, s[:, 2, 0], (s[:, 0, 0] - s[:, 1, 1]) / 2]
        return torch.stack(two, dim=1)

    moved = GroupRepresentation("1x2e")(components(tensor), r)
    torch.testing.assert_close(moved, components(r.mT @ tensor @ r), rtol=0, atol=1e-12)


def test_equals_equicaps_pose_action() -> None:
    """Rows of K 3 × 3 poses are 3K copies of degree 1 with axes in the order (y, z, x); of 4 × 4 ones, homogeneous."""
    poses, r = torch.randn(4, 5, 3, 3, dtype=torch.float64), random_rotmat(4, dtype=torch.float64)
    moved = GroupRepresentation("15x1e")(poses[..., [1, 2, 0]].flatten(1), r)
    torch.testing.assert_close(moved, pose_action(poses, r)[..., [1, 2, 0]].flatten(1), rtol=0, atol=1e-14)
    poses, m = torch.randn(4, 5, 4, 4, dtype=torch.float64), random_poses(4)
    moved = GroupRepresentation("", 20)(poses.flatten(1), m)
    torch.testing.assert_close(moved, pose_action(poses, m).flatten(1), rtol=0, atol=1e-14)


def test_homogeneous_vectors_evaluate_planes_on_moved_points() -> None:
    """A plane ⟨n, x⟩ + d fixed in the world, as the object sees it, has the same value at the object's own points."""
    plane, m = torch.randn(4, 4, dtype=torch.float64), random_poses(4)
    seen = GroupRepresentation("", 1)(plane, m)
    points = torch.randn(4, 6, 3, dtype=torch.float64)

    def value(p: Tensor, x: Tensor) -> Tensor:
        return (p[:, None, :3] * x).sum(-1) + p[:, None, 3]

    torch.testing.assert_close(value(seen, points), value(plane, transform_points(m, points)), rtol=0, atol=1e-12)


angle = st.floats(-4, 4)
angles = st.tuples(angle, angle, angle)


@given(first=angles, second=angles, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_right_action_that_keeps_lengths(first: tuple, second: tuple, seed: int) -> None:
    predictor = GroupRepresentation(*IRREPS)
    e = torch.randn(1, predictor.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g, h = (euler_to_rotmat(torch.tensor([angles], dtype=torch.float64)) for angles in (first, second))
    one_by_one = predictor(predictor(e, g), h)
    torch.testing.assert_close(one_by_one, predictor(e, g @ h), rtol=0, atol=1e-12)
    torch.testing.assert_close(predictor(predictor(e, g), g.mT), e, rtol=0, atol=1e-12)
    torch.testing.assert_close(predictor.normalize(predictor(e, g)), predictor(predictor.normalize(e), g))
    for before, after in zip(predictor.copies(e), predictor.copies(predictor(e, g)), strict=True):
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))


@pytest.mark.parametrize("parts", [IRREPS, POSES])
def test_match_equals_moving_and_comparing(parts: tuple[str, int]) -> None:
    predictor = GroupRepresentation(*parts)
    first, second = torch.randn(2, 5, predictor.dim, dtype=torch.float64)
    actions = random_actions(predictor, 7)
    expected = torch.stack([(predictor(first, a.expand(5, -1, -1)) * second).sum(1) for a in actions], dim=1)
    torch.testing.assert_close(predictor.match(first, second, actions), expected)


def test_match_is_largest_at_the_rotation_between_the_views() -> None:
    torch.manual_seed(3)
    predictor = GroupRepresentation("8x1e+8x2e+8x3e")
    r1, r2 = random_rotmat(20, dtype=torch.float64), random_rotmat(20, dtype=torch.float64)
    content = torch.randn(20, predictor.dim, dtype=torch.float64)
    candidates = torch.cat([relative_rotation(r1, r2), random_rotmat(300, dtype=torch.float64)])
    scores = predictor.match(predictor(content, r1), predictor(content, r2), candidates)
    best = candidates[scores.argmax(dim=1)]
    assert geodesic_angle(best, relative_rotation(r1, r2)).max() < 1e-6


def test_normalized_copies_have_length_one_like_equicaps_poses() -> None:
    predictor = GroupRepresentation("2x1e+3x2e")
    e = torch.randn(4, predictor.dim)
    e[0, :3] = 0
    one, two = predictor.copies(predictor.normalize(e))
    expected = torch.ones(4, 2)
    expected[0, 0] = 0
    torch.testing.assert_close(one.norm(dim=-1), expected)
    torch.testing.assert_close(two.norm(dim=-1), torch.ones(4, 3))
    poses = torch.randn(4, 5, 3, 3)
    # nine numbers of one pose as one copy of degree 4 have the same length
    torch.testing.assert_close(
        GroupRepresentation("5x4e").normalize(poses.flatten(1)), normalize_poses(poses).flatten(1)
    )


def test_nothing_is_learned_and_gradients_flow() -> None:
    predictor = GroupRepresentation("1x0e+2x1e+1x2e+1x3e")
    assert not list(predictor.parameters()) and not predictor.state_dict()
    e = torch.randn(2, predictor.dim, dtype=torch.float64, requires_grad=True)
    r = random_rotmat(2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(predictor, (e, r))


def test_half_precision_embeddings_are_moved_in_single_precision() -> None:
    predictor = GroupRepresentation(*IRREPS)
    e, r = torch.randn(4, predictor.dim), random_rotmat(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = predictor(e.bfloat16(), r)
        scores = predictor.match(e, e, r)
    assert moved.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(moved, predictor(e.bfloat16().float(), r))
    torch.testing.assert_close(
        scores, predictor.match(e.double(), e.double(), r.double()).float(), rtol=1e-4, atol=1e-4
    )
    exact = predictor(e.double(), r.double())
    torch.testing.assert_close(predictor(e, r).double(), exact, rtol=0, atol=2e-5)


def test_notation_and_type_are_e3nns() -> None:
    expected = GroupRepresentation("16x0e + 2x1e+3x2e", 4)
    assert str(expected) == "16x0e+2x1e+3x2e and 4 homogeneous vectors" and expected.dim == 16 + 6 + 15 + 16
    assert expected.irreps == o3.Irreps("16x0e+2x1e+3x2e") == GroupRepresentation(expected.irreps).irreps
    assert GroupRepresentation("0e+1e").dim == 1 + 3
    assert [c.shape for c in expected.copies(torch.zeros(7, 53))] == [(7, 16, 1), (7, 2, 3), (7, 3, 5), (7, 4, 4)]
    again = pickle.loads(pickle.dumps(copy.deepcopy(expected)))
    assert again.irreps == expected.irreps and again.irreps.dim == 37


def test_e3nn_costs_no_start_up_time_where_it_is_not_used() -> None:
    code = "import equissl.methods, sys; print('e3nn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_moves_as_e3nns_matrices_do_after_renaming_the_axes() -> None:
    torch.manual_seed(0)
    predictor = GroupRepresentation(*IRREPS)
    e, r = torch.randn(5, predictor.dim, dtype=torch.float64), random_rotmat(5, dtype=torch.float64)
    theirs = predictor.irreps.D_from_matrix(r[:, E3NN_AXES][:, :, E3NN_AXES])
    moved = torch.einsum("bij,bi->bj", theirs, e)
    torch.testing.assert_close(predictor(e, r), moved, rtol=0, atol=1e-4)  # its generators are of single precision


def test_mixed_degrees_are_equivariant_over_random_rotations() -> None:
    """Polynomials of directions, whose degrees 0 to 4 e3nn computes, turn with the directions."""
    torch.manual_seed(5)
    predictor = GroupRepresentation("1x0e+1x1e+1x2e+1x3e+1x4e")
    points = torch.randn(200, 3, dtype=torch.float64)
    r = random_rotmat(200, dtype=torch.float64)

    def harmonics(x: Tensor) -> Tensor:
        return o3.spherical_harmonics(list(range(5)), x[:, E3NN_AXES], normalize=False)

    seen = torch.einsum("bji,bj->bi", r, points)  # as the object sees them
    torch.testing.assert_close(predictor(harmonics(points), r), harmonics(seen), rtol=1e-10, atol=1e-10)


def test_names_what_is_wrong() -> None:
    for wrong, message in {
        "32x1+32x2": "e3nn's notation, such as '32x1e\\+32x2e', got '32x1\\+32x2'",
        "3y1": "got '3y1'",
        "2x1e++3x2e": "notation",
        "-1x1e": "notation",
        "2x1e+3xh": "notation",
        "2x1o+1x0e": "no parity, such as '2x1e\\+1x0e', got '2x1o'",
        "0x1e": "at least one copy of each irrep, got '0x1e'",
        "": "expected irreps or homogeneous vectors, got '' and 0",
    }.items():
        with pytest.raises(ValueError, match=message):
            GroupRepresentation(wrong)
    with pytest.raises(ValueError, match="got '1x1e' and -1"):
        GroupRepresentation("1x1e", -1)
    predictor = GroupRepresentation("2x1e")
    with pytest.raises(ValueError, match=r"embedding \(B, 6\) for 2x1e, got \(4, 7\)"):
        predictor(torch.zeros(4, 7), torch.zeros(4, 3, 3))
    with pytest.raises(ValueError, match=r"rotations \(B, 3, 3\) for 2x1e, got \(4, 4\)"):
        predictor(torch.zeros(4, 6), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="each of 4 embeddings, got 5"):
        predictor(torch.zeros(4, 6), torch.zeros(5, 3, 3))
    with pytest.raises(ValueError, match=r"poses \(B, 4, 4\) for 1 homogeneous vectors, got \(4, 3, 3\)"):
        GroupRepresentation("", 1)(torch.zeros(4, 4), torch.zeros(4, 3, 3))


def test_rotation_about_z_leaves_order_zero_alone() -> None:
    turn = euler_to_rotmat(torch.tensor([[0, 0, 1.3]], dtype=torch.float64))
    for degree in range(4):
        d = wigner_d(turn, degree)[0]
        assert d[degree, degree].item() == pytest.approx(1)
        assert d[degree].abs().sum().item() == pytest.approx(1)
