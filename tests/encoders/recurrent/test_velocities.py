"""Velocity sets and actions: sizes, group laws, exactness."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equissl.encoders.recurrent import CyclicVelocities, RotationVelocities, TranslationVelocities, VelocitySet
from equissl.geometry.planar import roll_plane, rotate_plane, rotate_planes

small = st.integers(-7, 7)


def exact_velocity_sets() -> list[tuple[VelocitySet, int]]:
    """Flows of exact motions, with channels of a hidden state that suits them."""
    return [(TranslationVelocities(2), 3), (RotationVelocities(90, 2, 4), 8), (CyclicVelocities(2, 5), 10)]


@pytest.mark.parametrize(("radius", "size"), [(0, 1), (1, 9), (2, 25)])
def test_translations_count_and_order(radius: int, size: int) -> None:
    velocity_set = TranslationVelocities(radius)
    assert len(velocity_set) == size
    assert velocity_set.velocities[0] == (-radius, -radius)
    if radius:
        assert velocity_set.velocities[1] == (-radius, -radius + 1), "the horizontal part is the outer loop"


@pytest.mark.parametrize(("radius", "size"), [(0, 1), (2, 5), (4, 9), (18, 36)])
def test_rotations_count(radius: int, size: int) -> None:
    assert len(RotationVelocities(10, radius, 36)) == size  # -180° and 180° are one motion


@pytest.mark.parametrize(("velocity", "matched"), [((1, 0), 20), ((-2, 1), 12), ((2, 2), 9)])
def test_matched_slices_of_a_box(velocity: tuple[int, int], matched: int) -> None:
    pairs = TranslationVelocities(2).partners(velocity, (28, 28))
    assert len(pairs) == matched == (5 - abs(velocity[0])) * (5 - abs(velocity[1]))


def test_closure() -> None:
    assert TranslationVelocities(2).closed((5, 5))
    assert not TranslationVelocities(2).closed((28, 28))
    assert not TranslationVelocities(2).closed((5, 6))
    assert RotationVelocities(90, 2, 4).closed((8, 8))
    assert not RotationVelocities(10, 4, 36).closed((8, 8))


def test_positive_velocity_moves_right_and_down() -> None:
    frame = torch.zeros(5, 6)
    frame[1, 2] = 1
    moved = TranslationVelocities(2).move(frame, (2, 1))
    assert moved[2, 4] == 1


def test_a_quarter_turn_is_counter_clockwise_on_screen() -> None:
    frame = torch.zeros(5, 5)
    frame[2, 4] = 1  # right of the centre
    assert RotationVelocities(90, 1, 4).move(frame, (90,))[0, 2] == 1  # above it


@given(st.tuples(small, small), st.integers(0, 9))
def test_translation_by_v_t_is_t_translations(velocity: tuple[int, int], steps: int) -> None:
    velocity_set, x = TranslationVelocities(7), torch.arange(30.0).view(5, 6)
    once = x
    for _ in range(steps):
        once = velocity_set.move(once, velocity)
    assert torch.equal(velocity_set.move(x, velocity, steps), once)


def test_a_whole_turn_of_the_torus_is_the_identity() -> None:
    x = torch.rand(2, 28, 28)
    assert torch.equal(TranslationVelocities(2).move(x, (2, -1), 28), x)


@pytest.mark.parametrize(("velocity_set", "channels"), exact_velocity_sets(), ids=lambda v: getattr(v, "name", None))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_lifted_action_is_a_group_action(velocity_set: VelocitySet, channels: int, data: st.DataObject) -> None:
    """Acting with a, then b, is acting with a + b; transport by s, then t, is by s + t; both commute."""
    size = (5, 5)
    h = torch.rand(
        2, len(velocity_set), channels, *size, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    )
    a, b = (velocity_set.velocities[data.draw(st.integers(0, len(velocity_set) - 1))] for _ in range(2))
    steps = data.draw(st.integers(-3, 5))
    assert velocity_set.closed(size)
    first, slices = velocity_set.act(h, a, steps)
    assert slices == list(range(len(velocity_set)))
    joined = tuple(-part for part in velocity_set.difference(tuple(-p for p in a), b, size))
    both = velocity_set.act(first, b, steps)[0]
    assert torch.equal(both, velocity_set.act(h, joined, steps)[0])
    assert torch.equal(
        velocity_set.transport(velocity_set.transport(h, 2), steps), velocity_set.transport(h, steps + 2)
    )
    # ψ_1(ν)(ν̂·h)_t (ν) = (ν̂·ψ_1 h)_{t+1}(ν): what makes the recurrence equivariant
    assert torch.equal(velocity_set.transport(first), velocity_set.act(velocity_set.transport(h), a, steps + 1)[0])


@pytest.mark.parametrize("pool", ["amax", "mean", "sum"])
def test_pooling_commutes_with_a_closed_action(pool: str) -> None:
    velocity_set = TranslationVelocities(1)
    h = torch.randint(0, 9, (2, 9, 4, 3, 3)).double()
    moved = velocity_set.act(h, (1, -1), 2)[0]
    torch.testing.assert_close(getattr(moved, pool)(1), velocity_set.move(getattr(h, pool)(1), (1, -1), 2))


def test_orientation_channels_return_after_a_turn() -> None:
    velocity_set = RotationVelocities(10, 4, 36)
    h = torch.zeros(1, 72, 3, 3)
    h[:, :, 1, 1] = torch.rand(72)  # the centre stays where it is
    turned = h
    for _ in range(36):
        turned = velocity_set.move_features(turned, (10,))
    torch.testing.assert_close(turned[..., 1, 1], h[..., 1, 1], atol=1e-4, rtol=0)
    assert not torch.allclose(velocity_set.move_features(h, (10,))[..., 1, 1], h[..., 1, 1])
    assert torch.equal(velocity_set.move_features(h, (10,), 36), h)


@pytest.mark.parametrize("degrees", [17.0, 45.0, 200.0, -30.0])
def test_rotation_matches_scipy(degrees: float) -> None:
    rng = np.random.default_rng(0)
    x = scipy.ndimage.gaussian_filter(np.pad(rng.random((9, 9)), 4), 1.0)
    expected = scipy.ndimage.rotate(x, degrees, reshape=False, order=1)
    ours = rotate_plane(torch.from_numpy(x), degrees).numpy()
    inside = np.hypot(*np.meshgrid(*[np.arange(17) - 8] * 2)) < 7  # scipy treats the border differently
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-6)


def test_batched_rotation_is_the_single_one() -> None:
    x, angles = torch.rand(4, 6, 6), torch.tensor([0.0, 90.0, 33.0, -180.0])
    each = torch.stack([rotate_plane(p, float(a)) for p, a in zip(x, angles, strict=True)])
    torch.testing.assert_close(rotate_planes(x, angles), each, atol=1e-5, rtol=0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="multiples of 10"):
        RotationVelocities(15, 1, 36)  # would need half an orientation
    with pytest.raises(ValueError, match="square"):
        rotate_plane(torch.zeros(3, 4), 90)
    with pytest.raises(ValueError, match="whole pixels"):
        TranslationVelocities(1).move(torch.zeros(3, 3), (0.5, 0))
    with pytest.raises(ValueError, match=r"\(B, 9, C, H, W\)"):
        TranslationVelocities(1).transport(torch.zeros(1, 8, 2, 3, 3))
    assert roll_plane(x := torch.rand(3, 3), 3, -3) is x
