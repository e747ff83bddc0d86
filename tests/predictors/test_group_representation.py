"""The predictor without parameters: laws of the group, and exact prediction of synthetic embeddings of two views."""

from __future__ import annotations

import math

import pytest
import torch
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
from equissl.losses import normalize_poses
from equissl.predictors import GroupRepresentation, pose_action

IRREPS = "3x0+4x1+2x2+1x3+2x5"
POSES = "2x0+3x1+2xh+1x2"


def random_poses(count: int) -> Tensor:
    return rigid(random_rotmat(count, dtype=torch.float64), torch.randn(count, 3, dtype=torch.float64))


def random_actions(predictor: GroupRepresentation, count: int) -> Tensor:
    return random_rotmat(count, dtype=torch.float64) if predictor.action_size == 3 else random_poses(count)


@pytest.mark.parametrize("terms", [IRREPS, POSES])
def test_matrices_are_a_representation(terms: str) -> None:
    torch.manual_seed(0)
    predictor = GroupRepresentation(terms)
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


@pytest.mark.parametrize("terms", [IRREPS, POSES])
def test_prediction_is_exact_for_world_content_seen_from_the_object(terms: str) -> None:
    """f(g) = ρ(g)ᵀ c, for views 1 and 2 with known absolute poses and g12 = g1⁻¹ g2."""
    torch.manual_seed(1)
    predictor = GroupRepresentation(terms)
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
    predictor = GroupRepresentation("1x1")
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

    moved = GroupRepresentation("1x2")(components(tensor), r)
    torch.testing.assert_close(moved, components(r.mT @ tensor @ r), rtol=0, atol=1e-12)


def test_equals_equicaps_pose_action() -> None:
    """Rows of K 3 × 3 poses are 3K copies of degree 1 with axes in the order (y, z, x); of 4 × 4 ones, terms h."""
    poses, r = torch.randn(4, 5, 3, 3, dtype=torch.float64), random_rotmat(4, dtype=torch.float64)
    moved = GroupRepresentation("15x1")(poses[..., [1, 2, 0]].flatten(1), r)
    torch.testing.assert_close(moved, pose_action(poses, r)[..., [1, 2, 0]].flatten(1), rtol=0, atol=1e-14)
    poses, m = torch.randn(4, 5, 4, 4, dtype=torch.float64), random_poses(4)
    moved = GroupRepresentation("20xh")(poses.flatten(1), m)
    torch.testing.assert_close(moved, pose_action(poses, m).flatten(1), rtol=0, atol=1e-14)


def test_homogeneous_vectors_evaluate_planes_on_moved_points() -> None:
    """A plane ⟨n, x⟩ + d fixed in the world, as the object sees it, has the same value at the object's own points."""
    plane, m = torch.randn(4, 4, dtype=torch.float64), random_poses(4)
    seen = GroupRepresentation("1xh")(plane, m)
    points = torch.randn(4, 6, 3, dtype=torch.float64)

    def value(p: Tensor, x: Tensor) -> Tensor:
        return (p[:, None, :3] * x).sum(-1) + p[:, None, 3]

    torch.testing.assert_close(value(seen, points), value(plane, transform_points(m, points)), rtol=0, atol=1e-12)


angle = st.floats(-4, 4)
angles = st.tuples(angle, angle, angle)


@given(first=angles, second=angles, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_right_action_that_keeps_lengths(first: tuple, second: tuple, seed: int) -> None:
    predictor = GroupRepresentation(IRREPS)
    e = torch.randn(1, predictor.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g, h = (euler_to_rotmat(torch.tensor([angles], dtype=torch.float64)) for angles in (first, second))
    one_by_one = predictor(predictor(e, g), h)
    torch.testing.assert_close(one_by_one, predictor(e, g @ h), rtol=0, atol=1e-12)
    torch.testing.assert_close(predictor(predictor(e, g), g.mT), e, rtol=0, atol=1e-12)
    torch.testing.assert_close(predictor.normalize(predictor(e, g)), predictor(predictor.normalize(e), g))
    for before, after in zip(predictor.copies(e), predictor.copies(predictor(e, g)), strict=True):
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))


@pytest.mark.parametrize("terms", [IRREPS, POSES])
def test_match_equals_moving_and_comparing(terms: str) -> None:
    predictor = GroupRepresentation(terms)
    first, second = torch.randn(2, 5, predictor.dim, dtype=torch.float64)
    actions = random_actions(predictor, 7)
    expected = torch.stack([(predictor(first, a.expand(5, -1, -1)) * second).sum(1) for a in actions], dim=1)
    torch.testing.assert_close(predictor.match(first, second, actions), expected)


def test_match_is_largest_at_the_rotation_between_the_views() -> None:
    torch.manual_seed(3)
    predictor = GroupRepresentation("8x1+8x2+8x3")
    r1, r2 = random_rotmat(20, dtype=torch.float64), random_rotmat(20, dtype=torch.float64)
    content = torch.randn(20, predictor.dim, dtype=torch.float64)
    candidates = torch.cat([relative_rotation(r1, r2), random_rotmat(300, dtype=torch.float64)])
    scores = predictor.match(predictor(content, r1), predictor(content, r2), candidates)
    best = candidates[scores.argmax(dim=1)]
    assert geodesic_angle(best, relative_rotation(r1, r2)).max() < 1e-6


def test_normalized_copies_have_length_one_like_equicaps_poses() -> None:
    predictor = GroupRepresentation("2x1+3x2")
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
        GroupRepresentation("5x4").normalize(poses.flatten(1)), normalize_poses(poses).flatten(1)
    )


def test_nothing_is_learned_and_gradients_flow() -> None:
    predictor = GroupRepresentation("1x0+2x1+1x2+1x3")
    assert not list(predictor.parameters()) and not predictor.state_dict()
    e = torch.randn(2, predictor.dim, dtype=torch.float64, requires_grad=True)
    r = random_rotmat(2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(predictor, (e, r))


def test_half_precision_embeddings_are_moved_in_single_precision() -> None:
    predictor = GroupRepresentation(IRREPS)
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


def test_terms_in_every_notation() -> None:
    expected = GroupRepresentation("16x0 + 2x1+3x2")
    assert str(expected) == "16x0+2x1+3x2" and expected.dim == 16 + 6 + 15
    assert GroupRepresentation([(16, 0), (2, 1), (3, 2)]).terms == expected.terms
    assert GroupRepresentation({0: 16, 1: 2, 2: 3}).terms == expected.terms
    assert GroupRepresentation("1+h").dim == 3 + 4
    assert [c.shape for c in expected.copies(torch.zeros(7, 37))] == [(7, 16, 1), (7, 2, 3), (7, 3, 5)]


def test_names_what_is_wrong() -> None:
    for wrong, message in {
        "": "got '' in ''",
        "3y1": "got '3y1' in '3y1'",
        "2x1++3x2": "got '' in",
        "0x1": "got 0x1",
        "2x1e": "got '2x1e'",
    }.items():
        with pytest.raises(ValueError, match=message):
            GroupRepresentation(wrong)
    for terms in ([], [(2, -1)], [(1, "k")]):
        with pytest.raises(ValueError, match="expected"):
            GroupRepresentation(terms)
    predictor = GroupRepresentation("2x1")
    with pytest.raises(ValueError, match=r"embedding \(B, 6\) for 2x1, got \(4, 7\)"):
        predictor(torch.zeros(4, 7), torch.zeros(4, 3, 3))
    with pytest.raises(ValueError, match=r"rotations \(B, 3, 3\) for 2x1, got \(4, 4\)"):
        predictor(torch.zeros(4, 6), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="each of 4 embeddings, got 5"):
        predictor(torch.zeros(4, 6), torch.zeros(5, 3, 3))
    with pytest.raises(ValueError, match=r"poses \(B, 4, 4\) for 1xh, got \(4, 3, 3\)"):
        GroupRepresentation("1xh")(torch.zeros(4, 4), torch.zeros(4, 3, 3))


def test_rotation_about_z_leaves_order_zero_alone() -> None:
    turn = euler_to_rotmat(torch.tensor([[0, 0, 1.3]], dtype=torch.float64))
    for degree in range(4):
        d = wigner_d(turn, degree)[0]
        assert d[degree, degree].item() == pytest.approx(1)
        assert d[degree].abs().sum().item() == pytest.approx(1)
